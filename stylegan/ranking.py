"""Scores of real faces by the discriminator: which of them it takes for real."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stylegan.faces import Faces, to_images
from stylegan.loader import check_labels
from stylegan.model import Model
from stylegan.random import generator


class RankConfig(BaseModel):
    """What the order of the faces follows; docs/results.md has the measurements behind the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoints: int = Field(
        default=4, ge=1, description="Logits are averaged over so many of the training's last checkpoints."
    )
    flips: bool = Field(default=True, description="Logits are averaged with those of the mirrored face.")
    neighbours: int = Field(
        default=20,
        ge=0,
        description="Half of the worth: how near so many nearest faces are in the discriminator's features; 0: logits "
        "alone.",
    )
    pool: int = Field(default=20_000, ge=100, description="Training faces among which neighbours are looked for.")


def score_faces(
    model: Model, faces: Faces, batch_size: int = 64, reference_seed: int = 0, flips: bool = False
) -> np.ndarray:
    """The discriminator's logit of every face, float32 [N]; larger is more real. With flips, the mean with its mirror.

    A face is judged as training judges real ones: in [-1, 1], unmirrored, in a minibatch-std group. The rest of its
    group are the same few training faces for all, kept in the checkpoint, so a score depends on nothing but the face,
    the checkpoint and reference_seed: not on the other faces, their order or batch_size.
    """
    references = reference_features(model, reference_seed)
    labels = check_labels(faces, model.num_labels)
    scores = []
    for positions in torch.split(torch.arange(len(faces)), batch_size):
        images, named = to_images(faces.images(positions)), None if labels is None else labels[positions]
        views = (images, images.flip(3)) if flips else (images,)
        scores.append(torch.stack([score_images(model, view, references, named) for view in views]).mean(0))
    return np.concatenate([part.cpu().numpy() for part in scores]) if scores else np.empty(0, np.float32)


@torch.no_grad()
def features_of(model: Model, faces: Faces, batch_size: int = 64) -> Tensor:
    """What the discriminator sees of every face before its last block: float64 [N, 4 C], C channels in each quarter."""
    parts = []
    for positions in torch.split(torch.arange(len(faces)), batch_size):
        features = model.discriminator.features(to_images(faces.images(positions)).to(model.device))
        parts.append(F.adaptive_avg_pool2d(features, 2).flatten(1).cpu().double())
    return torch.cat(parts) if parts else torch.empty(0, 0, dtype=torch.float64)


def neighbour_distances(features: Tensor, pool: Tensor, own: Tensor, num_neighbours: int) -> np.ndarray:
    """How far every face is from its nearest ones in a pool, float64 [N]: the mean over so many; less is more usual.

    features [N, F], pool [P, F] of features_of; own int64 [N] is a face's own place in the pool, -1 for none: nobody is
    his own neighbour. Distances are taken between principal components of the pool, brought to equal spread: as many
    as hold 95 % of it, 64 at most.
    """
    if not 1 <= num_neighbours < len(pool):
        raise ValueError(f"{num_neighbours} neighbours in a pool of {len(pool)} faces: choose 1 to {len(pool) - 1}")
    basis = _whitening(pool)
    centre, white, nearest = pool.mean(0), (pool - pool.mean(0)) @ basis, []
    for rows, mine in zip(torch.split(features, 256), torch.split(own, 256), strict=True):
        distances = torch.cdist((rows - centre) @ basis, white)
        there = torch.nonzero(mine >= 0).flatten()
        distances[there, mine[there]] = torch.inf
        nearest.append(distances.topk(num_neighbours, dim=1, largest=False).values.mean(1))
    return np.asarray(torch.cat(nearest).numpy()) if nearest else np.empty(0)


def _whitening(features: Tensor, share: float = 0.95, most: int = 64) -> Tensor:
    """The matrix [F, K] from centred features [N, F] to principal components of deviation 1."""
    centred = features - features.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(features))
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    enough = int((values.cumsum(0) < share * values.sum()).sum()) + 1
    kept = slice(0, min(most, enough))
    basis: Tensor = vectors[:, kept] / values[kept].sqrt().clamp(min=1e-9)
    return basis


@torch.no_grad()
def reference_features(model: Model, reference_seed: int) -> Tensor:
    """Features [group - 1, C, 4, 4] of the faces beside which every face is scored."""
    if model.reference is None:
        raise ValueError(
            "this model holds no reference faces, so a score would depend on the batch: "
            "load the checkpoint folder that a training wrote, not its model.safetensors alone"
        )
    wanted = model.config.network.minibatch_group - 1
    chosen = torch.randperm(len(model.reference), generator=generator(reference_seed, "reference"))[:wanted]
    return model.discriminator.features(to_images(model.reference[chosen]).to(model.device))


@torch.no_grad()
def score_images(model: Model, images: Tensor, references: Tensor, labels: Tensor | None = None) -> Tensor:
    """Logits [N] of images [N, C, H, W] in [-1, 1], each in a group of its own with the reference features.

    labels: class numbers [N], for models trained with them.
    """
    features = model.discriminator.features(images.to(model.device))
    count = len(features)
    # Members of a group are `count` apart (see minibatch_std): first the faces, then every reference for all of them.
    beside = references.repeat_interleave(count, dim=0)
    groups = torch.cat([features, beside])
    if labels is None:
        return model.discriminator.epilogue(groups)[:count]
    # Whose class the references are said to have makes no difference to the face's own logit.
    one_hot = F.one_hot(labels.repeat(len(groups) // count), model.num_labels).float().to(model.device)
    return model.discriminator.epilogue(groups, one_hot)[:count]
