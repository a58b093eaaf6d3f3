"""What was asked for so far and what came of it: a line each, so that whatever ends a run costs a few pictures."""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from tasks.sources.found import content_path, keep_bytes
from tasks.store import write_file


class Kept(NamedTuple):
    """A picture that came."""

    id: str
    bytes: int


class Failed(NamedTuple):
    """One that did not: the reason and what is known of it."""

    reason: str
    facts: dict[str, Any]
    round: str


Outcome = Kept | Failed


class Journal:
    """The outcomes by key, in memory and appended to a file as they happen; safe for threads.

    Failures of another round (a digest of what may change the answer) are not remembered, pictures are as long as
    their bytes are there.
    """

    def __init__(self, work: Path, round: str) -> None:
        self.work, self.round = work, round
        self.path = work / "journal.jsonl"
        self.lock = threading.Lock()
        # Equal bytes of two threads go through the same lock: they would be written under one name.
        self.writing = [threading.Lock() for _ in range(64)]
        work.mkdir(parents=True, exist_ok=True)
        self.outcomes: dict[str, Outcome] = dict(self._remembered())
        self.file = self.path.open("ab", buffering=0)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def get(self, key: str) -> Outcome | None:
        """What came of it, None when it was not asked for."""
        return self.outcomes.get(key)

    def keep(self, key: str, data: bytes) -> None:
        """The bytes came: they lie under the name of their content before the line says so."""
        with self.writing[zlib.crc32(data) % len(self.writing)]:
            id, _ = keep_bytes(data, self.work)
        self._append(key, Kept(id, len(data)))

    def fail(self, key: str, reason: str, **facts: Any) -> None:
        """It did not come."""
        self._append(key, Failed(reason, facts, self.round))

    def forget_failures(self) -> None:
        """Leave only what came: the next run asks for the rest again."""
        with self.lock:
            self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if isinstance(outcome, Kept)}
            self.file.close()
            write_file(self.path, b"".join(_line(key, outcome) for key, outcome in self.outcomes.items()))
            self.file = self.path.open("ab", buffering=0)

    def _append(self, key: str, outcome: Outcome) -> None:
        with self.lock:
            self.outcomes[key] = outcome
            self.file.write(_line(key, outcome))

    def _remembered(self) -> dict[str, Outcome]:
        if not self.path.is_file():
            return {}
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a line that a kill cut off
            write_file(self.path, data[:whole])
        outcomes: dict[str, Outcome] = {}
        for line in data[:whole].splitlines():
            key, *outcome = json.loads(line)
            outcomes[key] = Kept(*outcome) if len(outcome) == 2 else Failed(*outcome)
        return {key: outcome for key, outcome in outcomes.items() if self._holds(outcome)}

    def _holds(self, outcome: Outcome) -> bool:
        if isinstance(outcome, Failed):
            return outcome.round == self.round
        path = content_path(self.work, outcome.id)
        return path.is_file() and path.stat().st_size == outcome.bytes


def key_of(*parts: object) -> str:
    """A key that gives nothing away: the beginning of a digest."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _line(key: str, outcome: Outcome) -> bytes:
    return json.dumps([key, *outcome]).encode() + b"\n"
