"""A Prefect worker that stops well: `python -m flows.worker`, in the checkout.

A process worker that gets SIGTERM kills its flow runs at once and leaves them Running. Here the flow runs hear it
first: they save, say how they ended, and only then does the worker go.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

POOL = "gpu"
COMMAND = (sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--limit", "1")
# A training saves in under 25 s; then the run has its end to tell.
GRACE_SECONDS = 60.0
# The worker speaks for a run that ended before it could speak for itself.
SETTLE_SECONDS = 1.0
POLL_SECONDS = 0.1


def work(arguments: list[str]) -> int:
    """Runs a worker (more arguments go to `prefect worker start`) to its end; 130 or 143 when a signal stopped it."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    # A session of its own: Ctrl-C in a terminal must not reach the worker before its flow runs.
    worker = subprocess.Popen([*COMMAND, *arguments], start_new_session=True)
    while worker.poll() is None and not signals:
        time.sleep(POLL_SECONDS)
    if not signals:
        return worker.returncode
    stop_flow_runs(worker.pid)
    time.sleep(SETTLE_SECONDS)
    worker.terminate()
    worker.wait()
    return 128 + signals[0]


def stop_flow_runs(worker: int) -> None:
    """Asks the worker's flow runs to save and end, and waits until they are gone or the grace is over."""
    end = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while (runs := children(worker)) and time.monotonic() < end:
        for run in runs - asked:
            with suppress(ProcessLookupError):
                os.kill(run, signal.SIGTERM)
        asked |= runs
        time.sleep(POLL_SECONDS)


def children(process: int) -> set[int]:
    """The processes that a process started and that still run."""
    return {pid for pid, parent, state in _processes() if parent == process and state != "Z"}


def _processes() -> list[tuple[int, int, str]]:
    """Number, parent's number and first letter of the state of every process."""
    if not Path("/proc/self/stat").exists():  # no Linux; there `ps` may be missing from a slim container
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        return [(int(p), int(parent), s[0]) for p, parent, s in map(str.split, listed.stdout.splitlines())]
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # gone since the listing
            # "pid (name) state parent ...", and the name may hold anything, brackets and blanks too
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            found.append((int(path.parent.name), int(parent), state))
    return found


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:]))
