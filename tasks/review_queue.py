"""What a person should look at, the most doubtful first: both tails, duplicate groups, borderline detections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from imaging.crop import CropConfig
from manifests.ledger import rows_of
from manifests.review import About

NEAR = 0.25  # share of a limit within which a measure is borderline
MOST_MEMBERS = 9  # of a group that are shown: as many as there are keys
LIMITS = {"face_too_small": ("side", "min_face"), "blurry": ("sharpness", "min_sharpness")}


class Question(NamedTuple):
    """One thing to decide: the faces it is about, what made it doubtful, and what would be done without a word."""

    about: About
    kind: str  # lowest, highest, group, borderline
    ids: tuple[str, ...]
    suggestion: str  # keep, drop, or the id of a group's keeper
    why: str


def questions(ledger: pd.DataFrame, crop: CropConfig, num_tail: int) -> list[Question]:
    """Everything doubtful in a ledger, kinds in turn, the most doubtful first; so many faces of each tail."""
    faces = ledger[ledger["kind"] == "face"]
    ranked = faces.dropna(subset=["rank"]).sort_values("rank")
    lowest, highest = rows_of(ranked.head(num_tail)), rows_of(ranked.tail(num_tail)[::-1])
    found = [
        [_one(row, "tail", "lowest", f"lowest scores: {row['score']:.2f}") for row in lowest],
        _groups(ledger),
        _borderline(faces, crop),
        [_one(row, "tail", "highest", f"highest scores: {row['score']:.2f}") for row in highest],
    ]
    return [one[i] for i in range(max(map(len, found))) for one in found if i < len(one)]


def _one(row: dict[str, Any], about: About, kind: str, why: str) -> Question:
    return Question(about, kind, (row["id"],), "drop" if row["reason"] else "keep", why)


def _groups(ledger: pd.DataFrame) -> list[Question]:
    """Groups of near-duplicates among the pictures and among the faces, the largest first."""
    left = (ledger["reason"] == "") | ledger["reason"].str.startswith("duplicate_of:")
    free = ledger[ledger["kind"].isin(["picture", "face"]) & (ledger["group"] != "") & left].drop_duplicates("id")
    sizes = free.groupby(["kind", "group"])["id"].transform("size")
    asked = []
    for _, members in free[sizes > 1].groupby(["kind", "group"]):
        keeper = str(members["keeper"].iloc[0])
        others = [str(id) for id in members["id"] if id != keeper]
        ids = (keeper, *others)[:MOST_MEMBERS]
        what = f"{len(members)} near-duplicate {members['kind'].iloc[0]}s"
        asked.append(Question("group", "group", ids, keeper, what))
    return sorted(asked, key=lambda one: (-len(one.ids), one.ids))


def _borderline(faces: pd.DataFrame, crop: CropConfig) -> list[Question]:
    """Faces that a limit let pass, or dropped, by little; and those that the detector was least sure of."""
    doubts = [*_near_limits(faces, crop), *_unsure(faces)]
    once: dict[str, Question] = {}
    for _, question in sorted(doubts, key=lambda pair: (pair[0], pair[1].ids)):
        once.setdefault(question.ids[0], question)
    return list(once.values())


def _near_limits(faces: pd.DataFrame, crop: CropConfig) -> Iterator[tuple[float, Question]]:
    sides = pd.concat([faces["x1"] - faces["x0"], faces["y1"] - faces["y0"]], axis=1).min(axis=1)
    table = faces.assign(side=sides.astype("float64"))[faces["cut_x0"].notna()]
    for reason, (measure, limit_name) in LIMITS.items():
        limit = float(getattr(crop, limit_name))
        if not limit:
            continue
        doubt = (table[measure].astype("float64") / limit - 1).abs()
        for row in rows_of(table[table["reason"].isin(["", reason]) & (doubt < NEAR)]):
            why = f"{measure} {row[measure]:.0f}, the limit is {limit:.0f}"
            yield abs(row[measure] / limit - 1), _one(row, "detection", "borderline", why)


def _unsure(faces: pd.DataFrame) -> Iterator[tuple[float, Question]]:
    """The twentieth of the kept faces with the lowest confidence, the least sure first."""
    unsure = rows_of(faces[faces["reason"] == ""].nsmallest(len(faces) // 20, "confidence"))
    for place, row in enumerate(unsure):
        why = f"detector's confidence {row['confidence']:.2f}"
        yield NEAR * place / len(unsure), _one(row, "detection", "borderline", why)
