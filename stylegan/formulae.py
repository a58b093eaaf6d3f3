"""The formulae of generative models' metrics, from features to a number; where the features come from is not said here.

Each is the definition that published numbers use, biased covariances and rounded distances included: a difference in
the formula is a difference in the table. Sums are float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ROWS_AT_ONCE = 2048  # bounds memory: this many x 50,000 distances are 400 MB


class Moments(NamedTuple):
    """Mean [K] and covariance [K, K] of features, float64."""

    mean: Tensor
    covariance: Tensor


class PrecisionRecall(NamedTuple):
    """Shares of fakes that lie among the reals, and of reals that lie among the fakes, 0 .. 1."""

    precision: float
    recall: float


class InceptionScore(NamedTuple):
    """Mean over the splits, and their standard deviation."""

    mean: float
    deviation: float


def moments(features: Tensor) -> Moments:
    """Mean and biased covariance (a sum over N, not N - 1) of features [N, K]."""
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    return Moments(mean, centred.t() @ centred / len(features))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance of two normal distributions: FID when the features are Inception's.

    |mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)), Heusel et al. 2017 (arXiv:1706.08500, equation 6). A B is similar to
    the symmetric A^(1/2) B A^(1/2), so the trace of its root is real and exists for fewer samples than dimensions.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.t()
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    traces = a.covariance.trace() + b.covariance.trace()
    return float((a.mean - b.mean).square().sum() + traces - 2 * cross)


def kernel_distance(real: Tensor, fake: Tensor, subset: int = 1000, num_subsets: int = 100, seed: int = 0) -> float:
    """Squared maximum mean discrepancy under a cubic kernel, averaged over subsets: KID when features are Inception's.

    real [N, K], fake [M, K]. k(x, y) = (x . y / K + 1)^3, unbiased, Binkowski et al. 2018 (arXiv:1801.01401). Subsets
    have at most N and at most M members; the draws are those that NVIDIA's scripts make for this seed.
    """
    random = np.random.RandomState(seed)
    subset = min(subset, len(real), len(fake))
    distances = []
    for _ in range(num_subsets):
        fakes = fake[torch.from_numpy(random.choice(len(fake), subset, replace=False))]
        reals = real[torch.from_numpy(random.choice(len(real), subset, replace=False))]
        distances.append(subset_kernel_distance(reals, fakes))
    return float(np.mean(distances))


def subset_kernel_distance(real: Tensor, fake: Tensor) -> float:
    """The same of two sets of equal size, all of them at once."""
    real, fake, count = real.double(), fake.double(), len(real)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.t() / a.shape[1] + 1) ** 3

    within = kernel(real, real) + kernel(fake, fake)
    pairs = (within.sum() - within.trace()) / (count - 1)
    return float((pairs - 2 * kernel(real, fake).sum() / count) / count)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall by k nearest neighbours, Kynkäänniemi et al. 2019 (arXiv:1904.06991, equations 1-2).

    real [N, K], fake [M, K]. A feature lies among others when it is as near to one of them as that one's k-th
    neighbour. Features in float16, as NVIDIA's tables have them, give distances rounded to float16.
    """
    return PrecisionRecall(share_among(fake, real, k), share_among(real, fake, k))


def share_among(features: Tensor, others: Tensor, k: int) -> float:
    """The share of features [N, K] that lie in the balls of radius "my k-th neighbour" around others [M, K]."""
    if not 1 <= k < len(others):
        raise ValueError(f"k is {k}, there are {len(others)} features: choose 1 <= k < {len(others)}")
    rows = torch.split(others, ROWS_AT_ONCE)
    # The nearest of all is the feature itself, at distance 0.
    radii = torch.cat([distances(part, others).kthvalue(k + 1, dim=1).values for part in rows])
    inside = [(distances(part, others) <= radii).any(dim=1) for part in torch.split(features, ROWS_AT_ONCE)]
    return float(torch.cat(inside).float().mean())


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances [N, M] of a [N, K] and b [M, K], rounded as the features are."""
    # The plain differences: |a|^2 + |b|^2 - 2ab would tell a feature from its copy.
    exact = torch.cdist(a.float(), b.float(), compute_mode="donot_use_mm_for_euclid_dist")
    return exact.to(a.dtype)


def inception_score(probabilities: Tensor, num_splits: int = 10) -> InceptionScore:
    """How sure and how varied a classifier is, exp(E KL(p(y|x) || p(y))), by its probabilities [N, classes].

    Salimans et al. 2016 (arXiv:1606.03498), over equal splits in order.
    """
    scores = []
    for part in probabilities.double().tensor_split(num_splits):
        divergence = (part * (part.log() - part.mean(dim=0, keepdim=True).log())).sum(dim=1)
        scores.append(float(divergence.mean().exp()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def perceptual_path_length(lengths: npt.NDArray[np.floating]) -> float:
    """Mean of the lengths [N] between their 1st and 99th percentile, Karras et al. 2019 (arXiv:1812.04948, section 4).

    A length is the perceptual distance of two images an epsilon apart on their path, over epsilon squared. The
    percentiles are lengths that occur: the next below and the next above.
    """
    low = np.percentile(lengths, 1, method="lower")
    high = np.percentile(lengths, 99, method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
