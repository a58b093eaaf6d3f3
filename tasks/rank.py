"""rank: the trained discriminator scores every real face as its training would, and the ledger learns the order."""

from __future__ import annotations

import pandas as pd

from manifests.ledger import count_reasons
from tasks.buckets import write_buckets
from tasks.stage import Outcome, Place, stage
from tasks.store import Record
from tasks.train import checkpoint_of


@stage("rank", version=1, config=lambda job: {})
def score_real(at: Place, faces: Record, model: Record) -> Outcome:
    """Score every face in the shards, held-out ones and variants too; rank 0 is the lowest score of a face."""
    from stylegan import load
    from stylegan.faces import Faces
    from stylegan.ranking import score_faces

    network = load(checkpoint_of(at.job, model))
    parts = []
    for split in ("train", "held_out"):
        real = Faces(at.job.folder(faces), split, network.G.image_channels)
        if len(real):
            parts.append(pd.Series(score_faces(network, real), index=real.ids))
    scores = pd.concat(parts)
    ledger = at.job.ledger(faces.buckets)
    ledger["score"] = ledger["id"].map(scores).astype("float32").where(ledger["kind"] != "picture")
    faces_only = ledger[ledger["kind"] == "face"].dropna(subset="score")
    ranked = faces_only.sort_values(["score", "id"]).index
    ledger["rank"] = pd.Series(range(len(ranked)), index=ranked, dtype="Int64").reindex(ledger.index)
    scores = scores[faces_only["id"]]
    facts = {"scored": len(scores), "lowest": float(scores.min()), "median": float(scores.median())}
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger), facts=facts)
