"""evaluate: how far generated faces are from held-out ones; and of two models, which one stays."""

from __future__ import annotations

import json
from typing import Any

import torch

from manifests.ledger import face_of
from tasks.stage import Outcome, Place, stage
from tasks.store import Record, write_text
from tasks.train import checkpoint_of

METRICS = "metrics.json"


@stage("evaluate", version=1, config=lambda job: {"seed": job.manifest.seed, **dict(job.manifest.evaluate)})
def evaluate_model(at: Place, model: Record, faces: Record) -> Outcome:
    """Sliced Wasserstein distance (times 1,000) of generated faces to held-out and to training faces."""
    from stylegan import load
    from stylegan.faces import Faces
    from stylegan.metrics import sliced_wasserstein

    config, seed = at.job.manifest.evaluate, at.job.manifest.seed
    network = load(checkpoint_of(at.job, model))
    numbers: dict[str, Any] = {}
    for split in ("held_out", "train"):
        real = Faces(at.job.folder(faces), split, network.config.network.image_channels)
        # Variants are no real faces: a model of a set with them is judged by the same faces as one without.
        faces_only = [i for i, name in enumerate(real.ids) if name == face_of(name)][: config.num_images]
        count = len(faces_only)
        if count < 2:
            continue
        z = torch.randn(count, network.z_dim, generator=torch.Generator().manual_seed(seed))
        # Of a network with classes every face is answered by one of its own class.
        labels = torch.tensor(real.labels)[faces_only] if network.num_labels else None
        fakes = [
            network.sample(z[rows], None if labels is None else labels[rows], psi=1.0).cpu()
            for rows in torch.split(torch.arange(count), config.batch_size)
        ]
        fake = (torch.cat(fakes) * 127.5 + 128).clamp(0, 255).to(torch.uint8)
        distance = sliced_wasserstein(_in_colour(real.images(faces_only)), _in_colour(fake), seed, config)
        numbers[split] = {
            "images": count,
            **distance.mean._asdict(),
            "levels": {r: i.value for r, i in distance.levels.items()},
        }
    write_text(at.folder / METRICS, json.dumps(numbers, indent=1, sort_keys=True))
    facts = {f"swd_{split}": found["value"] for split, found in numbers.items()}
    return Outcome(files=(METRICS,), facts={**facts, "swd": numbers})


def _in_colour(images: torch.Tensor) -> torch.Tensor:
    """Grey images [N, 1, H, W] with their channel three times, others as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


@stage("choose", version=3, config=lambda job: {})
def keep_better(at: Place, before: Record, model_before: Record, after: Record, model_after: Record) -> Outcome:
    """Of two evaluated models the one nearer to the held-out faces (to the training faces where none are held out)."""
    split = "swd_held_out" if "swd_held_out" in before.facts else "swd_train"
    better = after.facts[split] <= before.facts[split]
    chosen = model_after if better else model_before
    verdict = (
        f"{'The retrained' if better else 'The first'} model is kept: its sliced Wasserstein distance to the "
        f"{split.removeprefix('swd_').replace('_', '-')} faces is {before.facts[split]:.1f} before cleaning and "
        f"retraining, {after.facts[split]:.1f} after"
    )
    write_text(at.folder / "model.json", json.dumps({"sha256": chosen.facts["sha256"]}))
    facts = {name: chosen.facts[name] for name in ("run", "runs", "checkpoint", "sha256")}
    facts["kimg"] = model_before.facts["kimg"] + (model_after.facts["kimg"] if better else 0)
    return Outcome(files=("model.json",), facts={**facts, "verdict": verdict, "retrained": better})
