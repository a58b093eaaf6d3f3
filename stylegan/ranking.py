"""Scores of real faces by the discriminator: which of them it takes for real."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.faces import Faces, to_images
from stylegan.loader import check_labels
from stylegan.model import Model
from stylegan.random import generator


def score_faces(model: Model, faces: Faces, batch_size: int = 64, reference_seed: int = 0) -> np.ndarray:
    """The discriminator's logit of every face, float32 [N]; larger is more real.

    A face is judged as training judges real ones: in [-1, 1], unmirrored, in a minibatch-std group. The rest of its
    group are the same few training faces for all, kept in the checkpoint, so a score depends on nothing but the face,
    the checkpoint and reference_seed: not on the other faces, their order or batch_size.
    """
    references = reference_features(model, reference_seed)
    labels = check_labels(faces, model.num_labels)
    scores = []
    for positions in torch.split(torch.arange(len(faces)), batch_size):
        images = to_images(faces.images(positions))
        scores.append(score_images(model, images, references, None if labels is None else labels[positions]))
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
