from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylegan import operators
from stylegan.operators import (
    ACTIVATIONS,
    bias_act,
    downsample2d,
    downsampling_conv2d,
    minibatch_std,
    modulated_conv2d,
    normalize_second_moment,
    resample_filter,
    upfirdn2d,
    upsample2d,
    upsampling_conv2d,
)

Arrays = dict[str, torch.Tensor]


def load(path: Path) -> tuple[Arrays, list[dict[str, object]]]:
    data = np.load(path)
    arrays = {k: torch.from_numpy(data[k]) for k in data.files if data[k].dtype.kind == "f"}
    return arrays, json.loads(str(data["meta"])) if "meta" in data.files else []


def pair(value: object) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[arg-type,return-value]


def kernel_of(taps: torch.Tensor) -> torch.Tensor:
    return taps if taps.ndim == 2 else torch.outer(taps, taps)


def test_upfirdn2d_and_its_gradient_equal_the_reference(fixtures: Path) -> None:
    a, cases = load(fixtures / "op_upfirdn2d.npz")
    for case in cases:
        x = a["x"].clone().requires_grad_()
        padding = case["padding"]
        y = upfirdn2d(
            x,
            kernel_of(a[str(case["filter"])]),
            up=pair(case["up"]),
            down=pair(case["down"]),
            padding=(padding,) * 4 if isinstance(padding, int) else tuple(padding),  # type: ignore[arg-type]
            flip=bool(case["flip_filter"]),
            gain=float(case["gain"]),  # type: ignore[arg-type]
        )
        i = case["i"]
        torch.testing.assert_close(y, a[f"y{i}"], rtol=1e-4, atol=1e-5)
        (gx,) = torch.autograd.grad(y, x, a[f"wgrad{i}"])
        torch.testing.assert_close(gx, a[f"gx{i}"], rtol=1e-4, atol=1e-5)


def test_up_and_downsampling_equal_the_reference(fixtures: Path) -> None:
    a, _ = load(fixtures / "op_upfirdn2d.npz")
    torch.testing.assert_close(upsample2d(a["x"], a["f_1331"]), a["upsample2d_f_1331"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(downsample2d(a["x"], a["f_1331"]), a["downsample2d_f_1331"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["f_1331", "f_sym6"])
def test_filters_of_any_length_resample_as_the_reference(fixtures: Path, name: str) -> None:
    a, _ = load(fixtures / "op_upfirdn2d.npz")
    kernel, taps = kernel_of(a[name]), len(a[name])
    ways = {
        "filter2d": {"padding": (taps // 2, (taps - 1) // 2) * 2},
        "upsample2d": {"padding": ((taps + 1) // 2, (taps - 2) // 2) * 2, "up": (2, 2), "gain": 4.0},
        "downsample2d": {"padding": ((taps - 1) // 2, (taps - 2) // 2) * 2, "down": (2, 2)},
    }
    for way, how in ways.items():
        y = upfirdn2d(a["x"], kernel, **how)  # type: ignore[arg-type]
        torch.testing.assert_close(y, a[f"{way}_{name}"], rtol=1e-4, atol=1e-5)


def test_the_resampling_filter_is_the_references(fixtures: Path) -> None:
    a, _ = load(fixtures / "op_upfirdn2d.npz")
    torch.testing.assert_close(resample_filter(), a["f_1331"])


def test_resampling_convolutions_equal_the_reference(fixtures: Path) -> None:
    a, cases = load(fixtures / "op_conv2d_resample.npz")
    for case in cases:
        weight, up, down = a[str(case["w"])], case["up"], case["down"]
        if (up, down) == (1, 2):
            y = downsampling_conv2d(a["x"], weight, a["f"])
        elif (up, down) == (2, 1) and weight.shape[-1] == 3:
            # Ours always flips, as the reference's networks ask for when they upsample.
            y = upsampling_conv2d(a["x"], weight.flip(2, 3) if case["flip_weight"] else weight, a["f"])
        elif (up, down) == (1, 1):
            y = F.conv2d(a["x"], weight, padding=1)
        elif (up, down) == (2, 1):
            y = upsample2d(F.conv2d(a["x"], weight), a["f"])
        else:  # both ways: 2 + 1 px of padding for the filters, 1 for the convolution
            finer = upfirdn2d(a["x"], a["f"], up=(2, 2), padding=(4, 3, 4, 3), gain=4.0)
            y = upfirdn2d(F.conv2d(finer, weight), a["f"], down=(2, 2))
        torch.testing.assert_close(y, a[f"y{case['i']}"], rtol=1e-4, atol=1e-5)
    assert len(cases) == 7


def test_modulated_convolution_equals_the_reference_to_second_order(fixtures: Path) -> None:
    a, cases = load(fixtures / "op_modulated_conv2d_sg2.npz")
    tried = 0
    for case in cases:
        # Plain layers correlate, upsampling layers convolve: the rest of the cases are no layer of a network.
        if bool(case["flip_weight"]) != (case["up"] == 1):
            continue
        x, w, s = (a[k].clone().requires_grad_() for k in ("x", str(case["weight"]), "s"))
        up = a["f"] if case["up"] == 2 else None
        y = modulated_conv2d(x, w, s, demodulate=bool(case["demodulate"]), upsample=up)
        if case["noise"]:
            y = y + a[str(case["noise"])]
        i = case["i"]
        torch.testing.assert_close(y, a[f"y{i}"], rtol=1e-4, atol=1e-5)
        gx, gw, gs = torch.autograd.grad(y.square().sum(), [x, w, s], create_graph=True)
        for name, gradient in (("gx", gx), ("gw", gw), ("gs", gs)):
            torch.testing.assert_close(gradient, a[f"{name}{i}"], rtol=1e-3, atol=1e-3)
        (ggw,) = torch.autograd.grad(gx.square().sum() + gs.square().sum(), w)
        scale = float(a[f"ggw{i}"].abs().max())
        torch.testing.assert_close(ggw / scale, a[f"ggw{i}"] / scale, rtol=1e-3, atol=1e-5)
        tried += 1
    assert tried == 12


@pytest.mark.parametrize("activation", ["linear", "lrelu", *ACTIVATIONS])
def test_bias_act_equals_the_reference_to_second_order(fixtures: Path, activation: str) -> None:
    a, _ = load(fixtures / "op_bias_act.npz")
    x, b = a["x"].clone().requires_grad_(), a["b"].clone().requires_grad_()
    torch.testing.assert_close(bias_act(x, b, activation=activation), a[f"{activation}_default"])
    custom = bias_act(x, b, activation=activation, slope=0.3, gain=1.7, clamp=0.4)
    torch.testing.assert_close(custom, a[f"{activation}_a0.3_g1.7_c0.4"])
    # The reference's gradients are those of the squared norm, clamped to 0.9; the second ones of gx's squared norm.
    y = bias_act(x, b, activation=activation, clamp=0.9)
    gx, gb = torch.autograd.grad(y.square().sum(), [x, b], create_graph=True)
    (g2,) = torch.autograd.grad(gx.square().sum(), x)
    torch.testing.assert_close(gx, a[f"{activation}_gx"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gb, a[f"{activation}_gb"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(g2, a[f"{activation}_g2"], rtol=1e-3, atol=1e-5)


def test_the_bias_belongs_to_the_second_axis(fixtures: Path) -> None:
    a, _ = load(fixtures / "op_bias_act.npz")
    rows = bias_act(a["x"].transpose(1, 2), torch.arange(4) / 4, activation="lrelu").transpose(1, 2)
    torch.testing.assert_close(rows, a["dim2_nobias"])


def test_minibatch_std_equals_the_reference(fixtures: Path) -> None:
    a, _ = load(fixtures / "op_minibatch_std.npz")
    for group in (2, 4, 8):
        for channels in (1, 2):
            torch.testing.assert_close(minibatch_std(a["x"], group, channels), a[f"g{group}_f{channels}"])
    for channels in (1, 2):  # the reference's None: the whole batch is one group
        torch.testing.assert_close(minibatch_std(a["x"], len(a["x"]), channels), a[f"gNone_f{channels}"])
    torch.testing.assert_close(minibatch_std(a["x"][:4], 4), a["g4_n4"])


def test_minibatch_std_refuses_a_batch_of_broken_groups() -> None:
    with pytest.raises(ValueError, match="6 images make no whole groups of 4"):
        minibatch_std(torch.zeros(6, 2, 4, 4), 4)


def test_second_moment_equals_the_reference(fixtures: Path) -> None:
    a, _ = load(fixtures / "op_minibatch_std.npz")
    x = a["x"].flatten(1)
    torch.testing.assert_close(normalize_second_moment(x), a["norm2"])


def test_fast_resampling_equals_the_slow_formulation() -> None:
    x = torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    w = torch.randn(7, 5, 3, 3, generator=torch.Generator().manual_seed(2))
    f = resample_filter()
    slow_up = upfirdn2d(F.conv_transpose2d(x, w.transpose(0, 1), stride=2), f, padding=(1, 1, 1, 1), gain=4)
    torch.testing.assert_close(upsampling_conv2d(x, w, f), slow_up, rtol=1e-4, atol=1e-5)
    slow_down = F.conv2d(upfirdn2d(x, f, padding=(2, 2, 2, 2)), w, stride=2)
    torch.testing.assert_close(downsampling_conv2d(x, w, f), slow_down, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        upsample2d(x, f), upfirdn2d(x, f, up=(2, 2), padding=(2, 1, 2, 1), gain=4), rtol=1e-4, atol=1e-5
    )


def test_modulation_is_the_per_sample_weight_formulation() -> None:
    g = torch.Generator().manual_seed(3)
    x, w, s = torch.randn(3, 4, 8, 8, generator=g), torch.randn(6, 4, 3, 3, generator=g), torch.randn(3, 4, generator=g)
    weights = w[None] * s[:, None, :, None, None]
    weights = weights / (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    slow = torch.cat([F.conv2d(x[i : i + 1], weights[i], padding=1) for i in range(3)])
    torch.testing.assert_close(operators.modulated_conv2d(x, w, s), slow, rtol=1e-4, atol=1e-5)
