"""clean: the lowest scores, the highest, and a person's decisions become reasons. Nothing is deleted."""

from __future__ import annotations

import pandas as pd

from manifests.ledger import count_reasons, face_of, kept
from manifests.schema import CleanConfig
from tasks.buckets import write_buckets
from tasks.stage import Outcome, Place, stage
from tasks.store import Record


@stage("clean", version=1, config=lambda job: job.manifest.clean)
def drop_by_score(at: Place, scores: Record) -> Outcome:
    """Give the tails of the ranking a reason; held-out faces stay, so that before and after are judged alike."""
    config = at.job.manifest.clean
    assert config is not None, "a flow that cleans has a clean section"
    ledger = decide(at.job.ledger(scores.buckets), config)
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger))


def decide(ledger: pd.DataFrame, config: CleanConfig) -> pd.DataFrame:
    """The ledger with the reasons low_score, high_score and review:drop; a person's word outranks the score.

    Faces are judged, and a variant leaves with its face; only a person drops it alone.
    """
    ledger = ledger.copy()
    train = ledger[(ledger["kind"] == "face") & (ledger["reason"] == "") & (ledger["split"] == "train")]
    ranked = train.sort_values(["score", "id"])
    low, high = round(config.drop_lowest * len(ranked)), round(config.drop_highest * len(ranked))
    safe = _named(train, config.keep)
    ledger.loc[ranked.index[:low].difference(safe), "reason"] = "low_score"
    ledger.loc[ranked.index[len(ranked) - high :].difference(safe), "reason"] = "high_score"
    ledger.loc[_named(train, config.drop), "reason"] = "review:drop"
    variants = kept(ledger, "variant")
    ledger.loc[variants.index, "reason"] = variants["id"].map(face_of).map(ledger.set_index("id")["reason"].to_dict())
    ledger.loc[_named(kept(ledger, "variant"), config.drop), "reason"] = "review:drop"
    return ledger


def _named(rows: pd.DataFrame, ids: tuple[str, ...]) -> pd.Index[int]:
    return rows.index[rows["id"].str.startswith(ids)] if ids else rows.index[:0]
