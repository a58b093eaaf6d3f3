from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stylegan.architectures import build_networks
from stylegan.config import StyleGAN2Config
from stylegan.directions import principal_directions, style_weights


def test_directions_equal_the_reference_up_to_their_sign(fixtures: Path) -> None:
    with np.load(fixtures / "ros_sg2_32_sefa.npz") as a:
        weights, vectors, singular = (torch.from_numpy(a[name]) for name in ("W", "eigvec_abs", "singular"))
    found = principal_directions(weights.split(32))
    torch.testing.assert_close(found.strengths, singular, rtol=1e-4, atol=1e-5)
    # Rounding turns a singular vector by eps * largest / gap to its neighbours (Wedin 1972), here and there alike: both
    # were found in float32, by two LAPACKs. The reference's own error against float64 is 0.7 of it.
    gaps = torch.cdist(singular[:, None], singular[:, None]).fill_diagonal_(torch.inf).min(dim=1).values
    rounding = torch.finfo(torch.float32).eps * singular[0] / gaps
    assert ((found.vectors.abs() - vectors.t()).abs().max(dim=1).values / rounding).max() < 2


def test_a_step_along_a_direction_changes_styles_by_its_strength() -> None:
    weights = [torch.randn(n, 8, generator=torch.Generator().manual_seed(n)) for n in (5, 9)]
    vectors, strengths = principal_directions(weights)
    changes = torch.cat([weight @ vectors.t() for weight in weights]).norm(dim=0)
    torch.testing.assert_close(changes, strengths)
    torch.testing.assert_close(vectors @ vectors.t(), torch.eye(8), rtol=0, atol=1e-5)
    assert (vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_style_weights_are_those_of_every_layer_in_order() -> None:
    config = StyleGAN2Config(z_dim=8, w_dim=8, mapping_layers=1, channel_base=64, channel_max=8)
    G, _ = build_networks(config, 16, 0)
    weights = style_weights(G.synthesis)
    assert len(weights) == 8  # of b4 one convolution and the output, of b8 and b16 one more
    assert torch.equal(weights[2], G.synthesis.b8.conv0.affine.weight)
    assert [w.shape[1] for w in weights] == [8] * 8
    assert torch.equal(style_weights(G.synthesis, [2])[0], weights[2])
