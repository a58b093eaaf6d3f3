from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import alias_free
from stylegan.alias_free import filtered_lrelu, lowpass, modulated_conv2d
from stylegan.operators import upfirdn2d


@pytest.fixture(scope="module")
def reference(fixtures: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays and lists of cases of filtered_lrelu."""
    data = np.load(fixtures / "op_filtered_lrelu.npz")
    arrays = {k: torch.from_numpy(data[k]) for k in data.files if not k.startswith("meta")}
    return arrays, {k: json.loads(str(data[k])) for k in data.files if k.startswith("meta")}


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("i", range(4))
def test_lowpass_designs_equal_the_reference(reference: tuple[dict[str, Tensor], dict[str, Any]], i: int) -> None:
    arrays, cases = reference
    case = cases["meta_lowpass"][i]
    taps = lowpass(case["numtaps"], case["cutoff"], case["width"], case["fs"], radial=case["radial"])
    assert taps is not None
    torch.testing.assert_close(taps, arrays[f"lowpass{i}"], rtol=1e-6, atol=1e-8)


def test_a_filter_of_one_tap_is_none() -> None:
    assert lowpass(1, 4.0, 4.0, 32) is None


@pytest.mark.parametrize("radial", [False, True])
def test_a_lowpass_halves_the_cutoff_and_stops_the_stopband(radial: bool) -> None:
    taps = lowpass(24, 8.0, 8.0, 64, radial=radial)
    assert taps is not None
    along_x = taps.sum(dim=0) if radial else taps
    t = torch.arange(24) / 64

    def response(frequency: float) -> float:
        return abs((along_x * torch.exp(-2j * torch.pi * frequency * t)).sum()).item()

    assert response(0) == pytest.approx(1)
    assert response(8) == pytest.approx(0.5, abs=0.1)
    assert max(response(f) for f in (14, 18, 24, 31)) < 0.02


@pytest.mark.parametrize("i", range(6))
def test_filtered_lrelu_and_its_gradient_equal_the_reference(
    reference: tuple[dict[str, Tensor], dict[str, Any]], i: int
) -> None:
    arrays, cases = reference
    case = cases["meta"][i]
    x = arrays["x"].clone().requires_grad_()
    y = filtered_lrelu(
        x,
        arrays["b"],
        up_taps=arrays.get(f"f_{case['fu']}"),
        down_taps=arrays.get(f"f_{case['fd']}"),
        padding=tuple(case["padding"]) if case["padding"] else (0, 0, 0, 0),
        **{k: case[k] for k in ("up", "down", "gain", "slope", "clamp")},
    )
    close(y, arrays[f"y{i}"])
    close(torch.autograd.grad(y.square().sum(), x)[0], arrays[f"gx{i}"])


def slow_filtered_lrelu(x: Tensor, up_taps: Tensor, down_taps: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Two samples where there was one, activation, every second sample, on zero-stuffed signals."""
    wide = [torch.outer(taps, taps) if taps.ndim == 1 else taps for taps in (up_taps, down_taps)]
    u = upfirdn2d(x, wide[0], up=(2, 2), padding=(padding[0], padding[1], padding[2], padding[3]), gain=4.0)
    return upfirdn2d((F.leaky_relu(u, 0.2) * 2**0.5).clamp(-1, 1), wide[1], down=(2, 2))


CASES = {
    "whole": ((9, 8, 9, 8), False),
    "cropped": ((1, -1, -2, 1), False),
    "padded": ((13, 12, 11, 14), False),
    "radial": ((9, 8, 9, 8), True),
}


def operators_of(name: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The operator of a case and its slow reference."""
    padding, radial = CASES[name]
    up_taps, down_taps = lowpass(12, 6.0, 8.0, 32), lowpass(12, 5.0, 9.0, 32, radial=radial)
    assert up_taps is not None
    assert down_taps is not None
    up_taps, down_taps = up_taps.double(), down_taps.double()

    def fast(x: Tensor) -> Tensor:
        return filtered_lrelu(x, up_taps=up_taps, down_taps=down_taps, up=2, down=2, padding=padding, clamp=1.0)

    return fast, lambda x: slow_filtered_lrelu(x, up_taps, down_taps, padding)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tile", [1, alias_free.TILE])
def test_filtered_lrelu_equals_zero_stuffing_up_to_third_order(
    name: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_free, "TILE", tile)  # of 2 images of 17 channels: four tiles, or one
    results = []
    for operator in operators_of(name):
        torch.manual_seed(0)
        x = torch.randn(2, 17, 15, 14, dtype=torch.float64, requires_grad=True)
        terms = [operator(x)]
        for _ in range(3):
            terms.append(torch.autograd.grad(terms[-1].pow(3).sum(), x, create_graph=True)[0])
            terms[-1] = terms[-1] / terms[-1].std()
        results.append(terms)
    for ours, slow in zip(*results, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-9, atol=1e-9)


def test_filtered_lrelu_without_upsampling_leaves_its_input_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    before = x.detach().clone()
    y = filtered_lrelu(x, down_taps=lowpass(12, 8.0, 8.0, 32), down=2, gain=1.0, clamp=1.0)
    y.sum().backward()
    assert torch.equal(x, before)


def test_filtered_lrelu_exports_as_plain_operators_of_the_same_values() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return operators_of("whole")[0](x)

    x = torch.randn(2, 3, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(Layer(), (x,))
    calls = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert calls == {c for c in calls if c.startswith("aten.")}
    torch.testing.assert_close(exported.module()(x), Layer()(x))


CONVOLUTIONS = {  # weight, demodulate, padding, input gain
    "y0_w3_dem1_pad2_ig1": ("w3", True, 2, True),
    "y1_w3_dem1_pad1_ig0": ("w3", True, 1, False),
    "y2_w3_dem0_pad1_ig0": ("w3", False, 1, False),
    "y3_w1_dem0_pad0_ig1": ("w1", False, 0, True),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_modulated_convolution_equals_the_reference(fixtures: Path, name: str) -> None:
    data = np.load(fixtures / "op_modulated_conv2d_sg3.npz")
    a = {k: torch.from_numpy(data[k]) for k in data.files}
    weight, demodulate, padding, gained = CONVOLUTIONS[name]
    y = modulated_conv2d(
        a["x"], a[weight], a["s"], padding=padding, demodulate=demodulate, input_gain=a["ig"] if gained else None
    )
    close(y, a[name])


@pytest.mark.parametrize("size", [1, 3])
def test_modulated_convolution_keeps_images_apart_and_crops(size: int) -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(3, 6, 8, 8), torch.randn(5, 6, size, size), torch.randn(3, 6)
    style[1] *= 100
    whole = modulated_conv2d(x, weight, style)
    for i in range(3):
        close(modulated_conv2d(x[i : i + 1], weight, style[i : i + 1]), whole[i : i + 1])
    close(modulated_conv2d(x, weight, style, padding=-1), whole[:, :, 1:-1, 1:-1])
