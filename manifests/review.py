"""What people decided about single pictures and faces: NAME.review.jsonl beside the manifest, a line a decision."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Say = Literal["keep", "drop", "keeper", "undo"]
About = Literal["detection", "group", "tail"]


class Decision(BaseModel):
    """One line: what somebody said of a row of the ledger, and about what they were asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[0-9a-f]{64}(_\d{3})?$")
    say: Say  # keeper: this one of its group stays, the others go; undo: the last word on this id is taken back
    about: About = "detection"  # tail: of the ranking, obeyed by clean; the others are obeyed before any training
    box: tuple[int, int, int, int] | None = None  # where the face was, so that another numbering finds it again
    at: str = ""  # UTC, ISO 8601
    by: str = ""


def review_path(manifest: Path) -> Path:
    """Where the decisions on a manifest's pictures lie: beside it, NAME.review.jsonl."""
    return manifest.with_suffix(".review.jsonl")


def read_review(path: Path, after: int = 0) -> list[Decision]:
    """Every decision after so many, in order, none where there is no file; ValueError names a line that is none."""
    if not path.is_file():
        return []
    lines = [(number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    return [_parsed(path, number, line) for number, line in lines[after:]]


class Words:
    """What stands for each id after so many lines: the last word that was not taken back."""

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self.lines: list[Decision] = []
        self.said: dict[str, list[Decision]] = {}
        self.hear(decisions)

    def hear(self, decisions: Iterable[Decision]) -> None:
        """More lines, in order."""
        for one in decisions:
            self.lines.append(one)
            words = self.said.setdefault(one.id, [])
            if one.say != "undo":
                words.append(one)
            elif words:
                words.pop()

    def standing(self) -> dict[str, Decision]:
        """The word that stands for each id that has one."""
        return {id: words[-1] for id, words in self.said.items() if words}

    def changes(self, since: int) -> dict[str, str]:
        """What stands for every id that was spoken of after so many lines; "" for nothing any more."""
        spoken = {one.id: self.said[one.id] for one in self.lines[since:]}
        return {id: words[-1].say if words else "" for id, words in spoken.items()}


def standing(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """The word that stands for each id: the last one that was not taken back."""
    return Words(decisions).standing()


def append_decision(path: Path, decision: Decision) -> None:
    """Add a line; two reviewers may do so at once, since each line is one write at the file's end."""
    line = decision.model_dump_json(exclude_none=True) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def now() -> str:
    """The present time as a decision notes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text (byte {error.start}): put back a copy of it") from error


def _parsed(path: Path, number: int, line: str) -> Decision:
    try:
        return Decision.model_validate_json(line)
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(str(part) for part in what["loc"])
        raise ValueError(
            f"{path}, line {number} is no decision ({where + ': ' if where else ''}{what['msg']}): mend or delete that "
            f"line: {line[:120]}"
        ) from error
