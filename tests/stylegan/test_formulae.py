from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import formulae
from stylegan.formulae import (
    Moments,
    frechet_distance,
    inception_score,
    kernel_distance,
    moments,
    perceptual_path_length,
    precision_recall,
    subset_kernel_distance,
)
from stylegan.latents import slerp


@pytest.fixture(scope="module")
def reference(fixtures: Path) -> Mapping[str, Any]:
    with np.load(fixtures / "metrics_formulae.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def real(reference: Mapping[str, Any]) -> Tensor:
    return torch.from_numpy(reference["real"])


@pytest.fixture(scope="module")
def fake(reference: Mapping[str, Any]) -> Tensor:
    return torch.from_numpy(reference["gen"])


def test_mean_and_biased_covariance_equal_the_reference(reference, real, fake):
    for name, features in (("real", real), ("gen", fake)):
        np.testing.assert_allclose(moments(features).mean, reference[f"mu_{name}"], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(moments(features).covariance, reference[f"cov_{name}"], rtol=1e-10, atol=1e-12)


def test_the_frechet_distance_equals_the_reference(reference, real, fake):
    assert frechet_distance(moments(real), moments(fake)) == pytest.approx(reference["fid"], rel=1e-8)
    assert frechet_distance(moments(fake), moments(real)) == pytest.approx(reference["fid"], rel=1e-8)
    assert frechet_distance(moments(real), moments(real)) == pytest.approx(0, abs=1e-6)


def test_an_unbiased_covariance_would_give_another_distance(reference, real, fake):
    unbiased = [Moments(x.double().mean(0), torch.cov(x.double().t())) for x in (real, fake)]
    assert frechet_distance(*unbiased) == pytest.approx(reference["fid_unbiased_cov"], rel=1e-8)
    assert reference["fid_unbiased_cov"] - reference["fid"] > 0.01


def test_the_frechet_distance_exists_for_fewer_samples_than_dimensions(reference, real, fake):
    distance = frechet_distance(moments(real[:40]), moments(fake[:50]))
    assert distance == pytest.approx(reference["fid_rank_deficient_40_50"], rel=1e-6)


def test_the_frechet_distance_of_diagonal_normals_is_the_closed_form():
    a = Moments(torch.tensor([1.0, 0.0]).double(), torch.diag(torch.tensor([4.0, 9.0]).double()))
    b = Moments(torch.tensor([0.0, 2.0]).double(), torch.diag(torch.tensor([1.0, 1.0]).double()))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 1) ** 2)


def test_the_kernel_distance_equals_the_reference(reference, real, fake):
    whole = subset_kernel_distance(real[:500], fake)
    assert whole == pytest.approx(reference["kid_full_500_deterministic"], rel=1e-5)
    drawn = kernel_distance(real, fake, subset=100, num_subsets=100, seed=0)
    assert drawn == pytest.approx(reference["kid_seed0_100x100"], rel=1e-5)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16)])
def test_precision_and_recall_equal_the_reference(reference, real, fake, k, precision, dtype, monkeypatch):
    monkeypatch.setattr(formulae, "ROWS_AT_ONCE", 128)
    found = precision_recall(real.to(dtype), fake.to(dtype), k)
    assert found.precision == pytest.approx(reference[f"precision_k{k}_{precision}"], abs=1e-6)
    assert found.recall == pytest.approx(reference[f"recall_k{k}_{precision}"], abs=1e-6)


def test_more_neighbours_than_features_are_refused(real, fake):
    with pytest.raises(ValueError, match="k is 5, there are 4 features"):
        precision_recall(real, fake[:4], 5)


def test_the_inception_score_equals_the_reference(reference):
    score = inception_score(torch.from_numpy(reference["is_probs"]), num_splits=10)
    assert score.mean == pytest.approx(reference["is_mean"], rel=1e-5)
    assert score.deviation == pytest.approx(reference["is_std"], rel=1e-5)


def test_the_path_length_drops_both_tails_as_the_reference(reference):
    assert perceptual_path_length(reference["ppl_dist"]) == pytest.approx(reference["ppl"], rel=1e-6)
    within = reference["ppl_dist"]
    within = within[(within >= reference["ppl_lo"]) & (within <= reference["ppl_hi"])]
    assert perceptual_path_length(reference["ppl_dist"]) == pytest.approx(within.mean(), rel=1e-6)


def test_directions_on_the_great_circle_equal_the_reference(reference):
    a, b, t = (torch.from_numpy(reference[name]) for name in ("slerp_a", "slerp_b", "slerp_t"))
    points = torch.cat([slerp(a[i], b[i], t[i]) for i in range(len(a))])
    torch.testing.assert_close(F.normalize(points), torch.from_numpy(reference["slerp"]), rtol=1e-4, atol=1e-5)
