from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylegan.latents import looping_line, looping_spline


def load(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def test_the_looping_spline_equals_the_reference(fixtures: Path) -> None:
    a = load(fixtures / "video_cubic_loop.npz")
    # The reference takes two more rounds on either side and no ends that meet: 2e-6 of the far ends are left.
    torch.testing.assert_close(looping_spline(a["ws"], a["t"]), a["w_cubic"], rtol=1e-4, atol=1e-5)


def test_the_looping_line_equals_the_reference(fixtures: Path) -> None:
    a = load(fixtures / "video_cubic_loop.npz")
    torch.testing.assert_close(looping_line(a["ws"], a["t"]), a["w_linear"])


def test_the_loop_passes_its_keys_and_closes_without_a_jump() -> None:
    keys = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for way in (looping_spline, looping_line):
        torch.testing.assert_close(way(keys, torch.arange(6)), keys)
        torch.testing.assert_close(way(keys, torch.tensor([6.25, -1.5])), way(keys, torch.tensor([0.25, 4.5])))
    h = 1e-4
    before, at, after = looping_spline(keys, torch.tensor([-h, 0, h], dtype=torch.float64))
    torch.testing.assert_close((after - at) / h, (at - before) / h, rtol=0, atol=0.01)


def test_a_loop_of_a_sampled_wave_is_the_wave() -> None:
    angle = 2 * torch.pi * torch.arange(16, dtype=torch.float64) / 16
    t = torch.linspace(0, 16, 100, dtype=torch.float64)
    points = looping_spline(torch.sin(angle)[:, None], t)[:, 0]
    assert (points - torch.sin(2 * torch.pi * t / 16)).abs().max() < 1e-3
