"""review: what people decided of single pictures and faces outranks every rule, and comes before any training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from imaging.detect import Box, overlap
from manifests.ledger import count_reasons
from manifests.review import About, Decision, read_review, review_path, standing
from tasks.buckets import write_buckets
from tasks.job import Job
from tasks.stage import Outcome, Place, stage
from tasks.store import Record

logger = logging.getLogger(__name__)

BEFORE_TRAINING: tuple[About, ...] = ("detection", "group")  # what is obeyed here; clean obeys words on the tails
DUPLICATE = "duplicate_of:"
SAME_FACE = 0.5  # overlap (IoU) from which on a face at another number is the one that was decided on


def decisions_of(job: Job, *about: About) -> dict[str, Decision]:
    """What stands of the decisions on the job's manifest about these things."""
    words = standing(read_review(review_path(job.path)))
    return {id: one for id, one in words.items() if one.about in about}


def _asked(job: Job) -> Any:
    words = decisions_of(job, *BEFORE_TRAINING)
    return {id: [one.say, one.box] for id, one in sorted(words.items())}


@stage("review", version=1, config=_asked)
def apply_decisions(at: Place, faces: Record) -> Outcome:
    """Give rows the reasons, or the pardons, that people decided on."""
    ledger, strangers = decided(at.job.ledger(faces.buckets), decisions_of(at.job, *BEFORE_TRAINING))
    for id in strangers:
        logger.warning("%s: nothing in the ledger is %s: left out", review_path(at.job.path).name, id)
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger), facts={"strangers": len(strangers)})


def decided(ledger: pd.DataFrame, words: Mapping[str, Decision]) -> tuple[pd.DataFrame, list[str]]:
    """The ledger as people decided, and the ids that it does not know.

    A picture that is dropped takes its faces along. What cannot be cut (undecodable, no face, cut off) is not kept
    by anybody's word: it has no square.
    """
    table: Any = ledger.copy()
    # Of copies of one file the first one counts.
    row_of = {str(id): row for row, id in reversed([*zip(table.index, table["id"], strict=True)])}
    strangers = []
    for id, word in words.items():
        row = _row(table, row_of, id, word)
        if row is None:
            strangers.append(id)
        elif word.say == "drop":
            table.loc[_taken_along(table, row), "reason"] = "review:drop"
        elif word.say == "keep":
            _pardon(table, row)
        elif word.say == "keeper":
            _crown(table, row)
    return table, strangers


def _row(table: Any, row_of: Mapping[str, int], id: str, word: Decision) -> int | None:
    """The row that a decision is about: by its id where that is the same face still, else by where the face was."""
    row = row_of.get(id)
    if word.box is None or (row is not None and _overlap(table, row, word.box) >= SAME_FACE):
        return row
    faces = table.index[(table["picture"] == id[:64]) & (table["kind"] == "face")]
    near = {int(other): _overlap(table, other, word.box) for other in faces}
    best = max(near, key=lambda other: near[other], default=None)
    return best if best is not None and near[best] >= SAME_FACE else None


def _overlap(table: Any, row: int, box: tuple[int, int, int, int]) -> float:
    found = [table.at[row, name] for name in ("x0", "y0", "x1", "y1")]
    return 0.0 if any(pd.isna(number) for number in found) else overlap(Box(*map(int, found)), Box(*box))


def _taken_along(table: Any, row: int) -> Any:
    """The row itself, and for a picture its faces."""
    if table.at[row, "kind"] != "picture":
        return [row]
    return table.index[table["picture"] == table.at[row, "id"]]


def _pardon(table: Any, row: int) -> None:
    """Keep a face that can be cut, or a picture that left as a duplicate, with the faces that left along with it."""
    if table.at[row, "kind"] == "picture":
        if table.at[row, "reason"].startswith(DUPLICATE):
            along = table[(table["picture"] == table.at[row, "id"]) & (table["reason"] == table.at[row, "reason"])]
            table.loc[along.index, "reason"] = ""
    elif not pd.isna(table.at[row, "cut_x0"]):
        table.at[row, "reason"] = ""


def _crown(table: Any, row: int) -> None:
    """Make the row the keeper of its group: it is kept, and the others, with their faces, are its duplicates."""
    id, group, kind = table.at[row, "id"], table.at[row, "group"], table.at[row, "kind"]
    _pardon(table, row)
    if group:
        members = table[(table["group"] == group) & (table["kind"] == kind)]
        table.loc[members.index, "keeper"] = id
        rest = table["picture"].isin(members["id"]) if kind == "picture" else table["id"].isin(members["id"])
        free = (table["reason"] == "") | table["reason"].str.startswith(DUPLICATE)
        mine = table["picture" if kind == "picture" else "id"] == id
        table.loc[rest & free & ~mine, "reason"] = f"{DUPLICATE}{id}"
