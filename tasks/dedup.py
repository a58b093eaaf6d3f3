"""dedup: near-duplicates among all pictures, then among all faces; one of each group stays. Reads ledgers only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imaging.dedup import SIDE, DedupConfig, group_duplicates, keepers
from manifests.ledger import count_reasons
from tasks.buckets import write_buckets
from tasks.stage import Outcome, Place, stage
from tasks.store import Record


@stage("dedup", version=3, config=lambda job: job.manifest.dedup)
def drop_duplicates(at: Place, faces: Record) -> Outcome:
    """Give near-duplicate rows their group, keeper and reason: pictures first, what is left of the faces then.

    A picture that leaves takes its faces along: a detector's box moves between two copies of a picture, and a hash of
    what it cuts moves with it, but the pictures themselves stay alike.
    """
    ledger = at.job.ledger(faces.buckets)
    drop_pictures(ledger, at.job.manifest.dedup)
    drop_faces(ledger, at.job.manifest.dedup)
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger))


def drop_pictures(ledger: pd.DataFrame, config: DedupConfig) -> None:
    """Among near-duplicate pictures the one with most kept faces stays, then the largest, sharpest, smallest id."""
    rows = ledger.index[(ledger["kind"] == "picture") & (ledger["reason"] == "")]
    num_faces = ledger[(ledger["kind"] == "face") & (ledger["reason"] == "")].groupby("picture").size()
    pictures = ledger.loc[rows]
    areas = (pictures["width"] * pictures["height"]).to_numpy(float)
    _mark(ledger, rows, config, areas + 1e12 * num_faces.reindex(pictures["id"]).fillna(0).to_numpy(float))
    keeper_of = ledger.loc[rows].set_index("id")["keeper"]
    left = ledger.loc[rows, "id"][ledger.loc[rows, "reason"] != ""]
    faces = (ledger["kind"] == "face") & (ledger["reason"] == "") & ledger["picture"].isin(left)
    ledger.loc[faces, "reason"] = "duplicate_of:" + ledger.loc[faces, "picture"].map(keeper_of).astype(str)


def drop_faces(ledger: pd.DataFrame, config: DedupConfig) -> None:
    """Among near-duplicate faces the one cut from most pixels stays, then the sharpest, then the smallest id."""
    rows = ledger.index[(ledger["kind"] == "face") & (ledger["reason"] == "")]
    faces = ledger.loc[rows]
    areas = (faces["cut_x1"] - faces["cut_x0"]) * (faces["cut_y1"] - faces["cut_y0"])
    _mark(ledger, rows, config, areas.to_numpy(float))


def _mark(ledger: pd.DataFrame, rows: pd.Index[Any], config: DedupConfig, areas: NDArray[np.float64]) -> None:
    chosen = ledger.loc[rows]
    hashes = np.array([int(text, 16) for text in chosen["hash"]], dtype=np.uint64)
    thumbs = np.frombuffer(b"".join(chosen["thumb"]), np.uint8).reshape(-1, SIDE, SIDE)
    ids = chosen["id"].to_numpy()
    groups = group_duplicates(hashes, thumbs, config)
    best = keepers(groups, areas.tolist(), chosen["sharpness"].tolist(), ids.tolist())
    ledger.loc[rows, "group"] = ids[groups]
    ledger.loc[rows, "keeper"] = ids[best]
    lost = best != np.arange(len(rows))
    ledger.loc[rows[lost], "reason"] = [f"duplicate_of:{keeper}" for keeper in ids[best[lost]]]
