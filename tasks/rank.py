"""rank: the trained discriminator looks at every real face as its training did, and the ledger learns the order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from manifests.ledger import count_reasons, face_of
from stylegan.faces import Faces
from stylegan.model import Model
from stylegan.ranking import RankConfig, features_of, neighbour_distances, score_faces
from tasks.buckets import write_buckets
from tasks.stage import Outcome, Place, stage
from tasks.store import Record
from tasks.train import checkpoint_of


class Scores(NamedTuple):
    """What the discriminator says of faces, a row each, by id."""

    logit: pd.Series[float]  # of the last checkpoint: the training loop's own number
    worth: pd.Series[float]  # what the order follows, in deviations of the training faces
    distance: pd.Series[float] | None  # to the nearest faces in its features


@stage("rank", version=2, config=lambda job: job.manifest.rank)
def score_real(at: Place, faces: Record, model: Record) -> Outcome:
    """Score every face in the shards, held-out ones and variants too; rank 0 is the least worth of a face."""
    from stylegan import load

    used = last_checkpoints(checkpoint_of(at.job, model), at.job.manifest.rank.checkpoints)
    networks = [load(path) for path in used]
    splits = [Faces(at.job.folder(faces), split, networks[-1].G.image_channels) for split in ("train", "held_out")]
    found = scores_of(networks, [split for split in splits if len(split)], at.job.manifest.rank)
    ledger = at.job.ledger(faces.buckets)
    ledger["score"], ledger["worth"] = _by_row(ledger, found.logit), _by_row(ledger, found.worth)
    if found.distance is not None:
        ledger["distance"] = _by_row(ledger, found.distance)
    ranked = ledger[ledger["kind"] == "face"].dropna(subset=["worth"]).sort_values(["worth", "id"])
    ledger["rank"] = pd.Series(range(len(ranked)), index=ranked.index, dtype="Int64").reindex(ledger.index)
    facts = {
        "scored": len(ranked),
        "lowest": float(ranked["score"].min()),
        "median": float(ranked["score"].median()),
        "checkpoints": [path.name for path in used],
    }
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger), facts=facts)


def last_checkpoints(checkpoint: Path, count: int) -> list[Path]:
    """A training's checkpoints up to this one, at most so many, in order; fewer where fewer were kept."""
    earlier = sorted(path for path in checkpoint.parent.iterdir() if (path / "checkpoint.json").is_file())
    return [path for path in earlier if path.name <= checkpoint.name][-count:]


def scores_of(models: list[Model], splits: list[Faces], config: RankConfig) -> Scores:
    """What these models, the last one most, say of the faces of these splits; the first split is the training's."""
    ids = [id for split in splits for id in split.ids]
    trained = np.array([number < len(splits[0]) and id == face_of(id) for number, id in enumerate(ids)])
    logits = [_over(splits, lambda faces, m=model: score_faces(m, faces, flips=config.flips)) for model in models]
    own = logits[-1] if not config.flips else _over(splits, lambda faces: score_faces(models[-1], faces))
    worth = np.mean([_standard(one, trained) for one in logits], axis=0)
    distance = None
    if config.neighbours and trained.sum() > 1:
        distance = _distances(models[-1], splits, trained, config)
        worth = _standard(worth, trained) - _standard(distance, trained)
    series = [None if one is None else pd.Series(one, index=ids, dtype="float64") for one in (own, worth, distance)]
    assert series[0] is not None
    assert series[1] is not None
    return Scores(series[0], series[1], series[2])


def _distances(model: Model, splits: list[Faces], trained: np.ndarray, config: RankConfig) -> np.ndarray:
    """To the nearest of the training faces; ids are digests, so that the first of them are a sample of all."""
    features = torch.cat([features_of(model, split) for split in splits])
    pool = torch.from_numpy(np.flatnonzero(trained)[: config.pool])
    own = torch.full((len(features),), -1)
    own[pool] = torch.arange(len(pool))
    return neighbour_distances(features, features[pool], own, min(config.neighbours, len(pool) - 1))


def _over(splits: list[Faces], score: Any) -> np.ndarray:
    return np.concatenate([score(split) for split in splits]).astype(np.float64)


def _standard(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Values in deviations from the mean of those of `among`."""
    spread = float(values[among].std())
    return np.asarray((values - values[among].mean()) / (spread or 1.0))


def _by_row(ledger: pd.DataFrame, values: pd.Series[float]) -> pd.Series[float]:
    return ledger["id"].map(values).astype("float32").where(ledger["kind"] != "picture")
