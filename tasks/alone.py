"""One run of a manifest at a time: a second one is refused, whoever started it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.errors import Refused
from tasks.store import write_text


@contextmanager
def alone(root: Path, name: str) -> Iterator[None]:
    """Hold the manifest for the time of the block; Refused, naming who holds it, when another run does.

    The lock is the system's own (flock), so it ends with its process, however that ends.
    """
    folder = root / "running"
    folder.mkdir(exist_ok=True)
    said = folder / f"{name}.json"
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Refused(f"{name} is being run already{_holder(said)}: wait for that run, or stop it") from error
    try:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        write_text(said, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": began}))
        yield
    finally:
        said.unlink(missing_ok=True)
        lock.release()


def _holder(said: Path) -> str:
    """Who holds the manifest, as far as that is written down."""
    if not said.is_file():
        return ""
    about = json.loads(said.read_text(encoding="utf-8"))
    return f" by process {about['pid']} on {about['host']} since {about['since']}"
