"""evaluate: how far generated faces are from held-out ones; and of several models, which one stays."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from manifests.ledger import face_of
from manifests.schema import EvaluateConfig
from tasks.stage import Outcome, Place, stage
from tasks.store import Record, write_text
from tasks.train import checkpoint_of

METRICS = "metrics.json"
NO_CONTROL = (
    "without a control arm this does not say that cleaning was the cause: that model has also seen more pictures"
)


class Interval(NamedTuple):
    """A mean over repeats with its 95 % interval by Student's t; of one repeat the number itself, three times."""

    value: float
    low: float
    high: float


def interval(values: list[float]) -> Interval:
    """The mean of so many measurements and how well it is known."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


@stage("evaluate", version=2, config=lambda job: {"seed": job.manifest.seed, **dict(job.manifest.evaluate)})
def evaluate_model(at: Place, model: Record, faces: Record) -> Outcome:
    """Sliced Wasserstein distance (times 1,000) of generated faces to held-out and to training faces."""
    from stylegan import load
    from stylegan.faces import Faces

    config, seed = at.job.manifest.evaluate, at.job.manifest.seed
    network = load(checkpoint_of(at.job, model))
    numbers: dict[str, Any] = {}
    for split in ("held_out", "train"):
        real = Faces(at.job.folder(faces), split, network.config.network.image_channels)
        # Variants are no real faces: a model of a set with them is judged by the same faces as one without.
        faces_only = [i for i, name in enumerate(real.ids) if name == face_of(name)][: config.num_images]
        if len(faces_only) < 2:
            continue
        # Of a network with classes every face is answered by one of its own class.
        labels = torch.tensor(real.labels)[faces_only] if network.num_labels else None
        images = _in_colour(real.images(faces_only))
        repeats = []
        for repeat in range(config.repeats):
            repeats.append(_distance(network, images, labels, seed + repeat, config))
            at.progress(len(repeats), config.repeats, f"measurements ({split.replace('_', '-')})")
        numbers[split] = {"images": len(faces_only), **interval(repeats)._asdict(), "repeats": repeats}
    write_text(at.folder / METRICS, json.dumps(numbers, indent=1, sort_keys=True))
    facts = {f"swd_{split}": found["value"] for split, found in numbers.items()}
    return Outcome(files=(METRICS,), facts={**facts, "swd": numbers})


def _distance(
    network: Any, real: torch.Tensor, labels: torch.Tensor | None, seed: int, config: EvaluateConfig
) -> float:
    """Between real faces uint8 [N, 3, H, W] and as many generated ones, by the latents and directions of a seed."""
    from stylegan.metrics import sliced_wasserstein

    z = torch.randn(len(real), network.z_dim, generator=torch.Generator().manual_seed(seed))
    fakes = [
        network.sample(z[rows], None if labels is None else labels[rows], psi=1.0).cpu()
        for rows in torch.split(torch.arange(len(real)), config.batch_size)
    ]
    fake = (torch.cat(fakes) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return sliced_wasserstein(real, _in_colour(fake), seed, config).mean.value


def _in_colour(images: torch.Tensor) -> torch.Tensor:
    """Grey images [N, 1, H, W] with their channel three times, others as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _asked(job: Any) -> dict[str, float]:
    return {"margin": job.manifest.clean.margin}


@stage("choose", version=4, config=_asked)
def keep_better(at: Place, before: Record, model_before: Record, after: Record, model_after: Record) -> Outcome:
    """The model of before, unless the one of after is nearer to the held-out faces by the margin; without a control."""
    return _chosen(at, model_before, model_after, {"first": before, "cleaned": after})


@stage("choose", version=4, config=_asked)
def keep_proven(
    at: Place, before: Record, model_before: Record, after: Record, model_after: Record, control: Record
) -> Outcome:
    """The model of before, unless the cleaned one beats both it and the control by the margin."""
    return _chosen(at, model_before, model_after, {"first": before, "cleaned": after, "control": control})


def _chosen(at: Place, model_before: Record, model_after: Record, metrics: dict[str, Record]) -> Outcome:
    split = "held_out" if "held_out" in metrics["first"].facts["swd"] else "train"
    repeats = {arm: metric.facts["swd"][split]["repeats"] for arm, metric in metrics.items()}
    margin = at.job.manifest.clean.margin if at.job.manifest.clean else 0.0
    gains = {arm: gain(repeats[arm], repeats["cleaned"]) for arm in repeats if arm != "cleaned"}
    better = all(is_proven(gains[arm], repeats[arm], margin) for arm in gains)
    chosen = model_after if better else model_before
    write_text(at.folder / "model.json", json.dumps({"sha256": chosen.facts["sha256"]}))
    facts = {name: chosen.facts[name] for name in ("run", "runs", "checkpoint", "sha256")}
    facts["kimg"] = model_before.facts["kimg"] + (model_after.facts["kimg"] if better else 0)
    facts["gains"] = {arm: list(found) for arm, found in gains.items()}
    said = verdict(better, split, repeats, gains, margin)
    return Outcome(files=("model.json",), facts={**facts, "verdict": said, "retrained": better})


def gain(other: list[float], cleaned: list[float]) -> Interval:
    """By how much the cleaned model's distance is lower than another's, repeat by repeat: both had the same draws."""
    return interval([a - b for a, b in zip(other, cleaned, strict=True)])


def is_proven(gained: Interval, other: list[float], margin: float) -> bool:
    """Whether a gain is above nothing for sure, and at least the margin's share of the other's distance."""
    return gained.low > 0 and gained.value >= margin * float(np.mean(other))


def verdict(
    better: bool, split: str, repeats: dict[str, list[float]], gains: dict[str, Interval], margin: float
) -> str:
    """The choice in a sentence, with the numbers that it follows from."""
    mean = {arm: float(np.mean(values)) for arm, values in repeats.items()}
    names = {"first": "the first model's", "control": "that of as much training with as many faces dropped at random"}
    against = " and ".join(
        f"{names[arm]} {mean[arm]:.1f} (lower by {found.value:.1f}, 95 % interval {found.low:.1f} to {found.high:.1f})"
        for arm, found in gains.items()
    )
    return (
        f"The {'cleaned and retrained' if better else 'first'} model is kept: cleaned and retrained, the sliced "
        f"Wasserstein distance to the {split.replace('_', '-')} faces is {mean['cleaned']:.1f}, {against}; "
        f"{len(repeats['cleaned'])} repeats, margin {margin:.0%}" + ("" if "control" in gains else f"; {NO_CONTROL}")
    )
