"""Run as a child process: reads every file of a folder and reports, as JSON, what happened while it did.

python hostile_child.py FOLDER ours|pickle: with this project's reader, or with Python's own unpickler.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
import time
from pathlib import Path

EVENTS: list[str] = []
WATCHING = False
CURRENT = ""


def watch(event: str, args: tuple[object, ...]) -> None:
    """Note every event that the interpreter tells of while a file is read, but for id() and the reading of the file."""
    global WATCHING
    if WATCHING:
        WATCHING = False  # describing an event must not make more of them
        reading = event == "open" and str(args[0]) == CURRENT and args[1] in ("r", "rb")
        if not reading and event != "builtins.id":
            EVENTS.append(f"{event} {args!r}"[:200])
        WATCHING = True


def report(path: Path, read: object) -> dict[str, object]:
    global WATCHING, CURRENT
    CURRENT = str(path)
    EVENTS.clear()
    start = time.process_time()
    outcome, message = "read", ""
    WATCHING = True
    try:
        read(path)  # type: ignore[operator]
    except BaseException as error:  # noqa: BLE001  the child's whole task is to tell what came out
        WATCHING = False
        outcome, message = type(error).__name__, str(error)
    WATCHING = False
    return {
        "name": path.name,
        "outcome": outcome,
        "message": message[:400],
        "seconds": time.process_time() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "events": list(EVENTS),
    }


def main(folder: Path, reader: str) -> None:
    if reader == "ours":
        from stylegan.foreign.container import read_tree as read
    else:

        def read(path: Path) -> object:
            return pickle.loads(path.read_bytes())

    sys.addaudithook(watch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reports = [report(path, read) for path in sorted(folder.iterdir()) if path.suffix == ".bin"]
    print(json.dumps({"before_mb": before, "reports": reports}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
