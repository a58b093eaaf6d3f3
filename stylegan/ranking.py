"""Scores of real faces by the discriminator: which of them it takes for real."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stylegan.faces import Faces, to_images
from stylegan.model import Model
from stylegan.random import generator


def score_faces(model: Model, faces: Faces, batch_size: int = 64, reference_seed: int = 0) -> np.ndarray:
    """The discriminator's logit of every face, float32 [N]; larger is more real.

    A face is judged as training judges real ones: in [-1, 1], unmirrored, in a minibatch-std group. The rest of its
    group are the same few training faces for all, kept in the checkpoint, so a score depends on nothing but the face,
    the checkpoint and reference_seed: not on the other faces, their order or batch_size.
    """
    references = reference_features(model, reference_seed)
    scores = [
        score_images(model, to_images(faces.images(range(start, min(start + batch_size, len(faces))))), references)
        for start in range(0, len(faces), batch_size)
    ]
    return np.concatenate([part.cpu().numpy() for part in scores]) if scores else np.empty(0, np.float32)


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
def score_images(model: Model, images: Tensor, references: Tensor) -> Tensor:
    """Logits [N] of images [N, 3, H, W] in [-1, 1], each in a group of its own with the reference features."""
    features = model.discriminator.features(images.to(model.device))
    count = len(features)
    # Members of a group are `count` apart (see minibatch_std): first the faces, then every reference for all of them.
    beside = references.repeat_interleave(count, dim=0)
    groups = torch.cat([features, beside])
    return model.discriminator.epilogue(groups)[:count]
