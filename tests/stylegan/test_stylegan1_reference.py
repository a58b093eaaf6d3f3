"""StyleGAN1 held to the fixtures of rosinality/style-based-gan-pytorch, by way of a slow reference."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Growth, Networks, build_networks
from stylegan.config import StyleGAN1Config

# The fixture's networks are those of rosinality/style-based-gan-pytorch, 16 times narrower, trained up to 128 px.
NARROW = StyleGAN1Config(z_dim=32, w_dim=32, channel_base=1024, channel_max=32)
IMAGES = {"rtol": 1e-4, "atol": 1e-5}
SIZES = [4, 8, 16, 32, 64, 128]

Match = re.Match[str]


def up(m: Match) -> str:
    return f"synthesis.b{4 << int(m[1])}"


def down(m: Match) -> str:
    return f"b{1024 >> int(m[1])}"


# The table of stylegan1.py: layers of theirs, our names of them, and what is done to the numbers.
NAMES: list[tuple[str, Callable[[Match], str], str]] = [
    (r"style\.(\d+)\.linear", lambda m: f"mapping.fc{int(m[1]) // 2}", "mapping"),
    (r"generator\.progression\.(0)\.conv1", lambda m: f"{up(m)}.const", "const"),
    (r"generator\.progression\.(\d+)\.conv1\.1\.conv", lambda m: f"{up(m)}.conv0", ""),
    (r"generator\.progression\.(\d+)\.conv1\.0", lambda m: f"{up(m)}.conv0", "transposed"),
    (r"generator\.progression\.(\d+)\.conv2\.conv", lambda m: f"{up(m)}.conv1", ""),
    (r"generator\.progression\.(\d+)\.noise(\d)", lambda m: f"{up(m)}.style{int(m[2]) - 1}.noise_strength", "noise"),
    (
        r"generator\.progression\.(\d+)\.adain(\d)\.style\.linear",
        lambda m: f"{up(m)}.style{int(m[2]) - 1}.affine",
        "dense",
    ),
    (r"generator\.to_rgb\.(\d+)\.conv", lambda m: f"{up(m)}.torgb", ""),
    (r"from_rgb\.(\d+)\.0\.conv", lambda m: f"{down(m)}.fromrgb", ""),
    (r"progression\.8\.conv1\.0\.conv", lambda m: "b4.conv", ""),
    (r"progression\.8\.conv2\.0\.conv", lambda m: "b4.fc", ""),
    (r"progression\.(\d+)\.conv1\.0\.conv", lambda m: f"{down(m)}.conv0", ""),
    (r"progression\.(\d+)\.conv2\.1(\.conv)?", lambda m: f"{down(m)}.conv1", ""),
    (r"linear\.linear", lambda m: "b4.out", "dense"),
]


def converted(kind: str, part: str, value: Tensor) -> Tensor:
    """Numbers of theirs in our convention."""
    multiplier = NARROW.mapping_lr_multiplier
    match kind, part:
        case "mapping", "weight":
            return value / multiplier
        case "mapping", "bias":
            return value / (multiplier * math.sqrt(2))
        case "const", _:
            return value[0]
        case "noise", _:
            return value.flatten() * math.sqrt(2 / value.numel())
        case "transposed", "weight":
            return value.transpose(0, 1).flip(2, 3) / 4
        case "dense", "weight":
            return value * math.sqrt(2)
    return value


def from_rosinality(state: dict[str, Tensor], resolution: int) -> dict[str, Tensor]:
    """Their weights under our names, up to the resolution."""
    ours = {}
    for name, value in state.items():
        if value.ndim == 4 and value.shape[1:] == (1, 3, 3):
            continue  # the blur
        layer, part = name.removesuffix("_orig").rsplit(".", 1)
        rename, kind, m = next((rename, kind, m) for p, rename, kind in NAMES if (m := re.fullmatch(p, layer)))
        key = rename(m) if kind in ("const", "noise") else f"{rename(m)}.{part}"
        size = re.search(r"\bb(\d+)\.", key)
        if size is None or int(size[1]) <= resolution:
            ours[key] = converted(kind, part, value)
    return ours


def their_weight(state: dict[str, Tensor], layer: str) -> Tensor:
    weight = state[f"{layer}.weight_orig"]
    return weight * math.sqrt(2 / weight[0].numel())


def their_conv(x: Tensor, state: dict[str, Tensor], layer: str) -> Tensor:
    weight = their_weight(state, layer)
    return F.conv2d(x, weight, state[f"{layer}.bias"], padding=weight.shape[-1] // 2)


def their_upsampling_conv(x: Tensor, state: dict[str, Tensor], layer: str) -> Tensor:
    """Pixels repeated and convolved, from 128 px up as one transposed convolution; then the blur."""
    if f"{layer}.0.weight" in state:
        weight = state[f"{layer}.0.weight"]
        w = F.pad(weight * math.sqrt(2 / (9 * len(weight))), (1, 1, 1, 1))
        w = (w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]) / 4
        x = F.conv_transpose2d(x, w, state[f"{layer}.0.bias"], stride=2, padding=1)
        return F.conv2d(x, state[f"{layer}.1.weight"], padding=1, groups=x.shape[1])
    x = their_conv(F.interpolate(x, scale_factor=2, mode="nearest"), state, f"{layer}.1.conv")
    return F.conv2d(x, state[f"{layer}.2.weight"], padding=1, groups=x.shape[1])


def their_style(x: Tensor, state: dict[str, Tensor], block: str, j: int, w: Tensor, noise: Tensor) -> Tensor:
    x = F.leaky_relu(x + noise * their_weight(state, f"{block}.noise{j}"), 0.2)
    layer = f"{block}.adain{j}.style.linear"
    scale, bias = F.linear(w, their_weight(state, layer), state[f"{layer}.bias"])[:, :, None, None].chunk(2, dim=1)
    return scale * F.instance_norm(x) + bias


def their_w(state: dict[str, Tensor], z: Tensor) -> Tensor:
    x = z / torch.sqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    for i in range(1, 17, 2):
        x = F.leaky_relu(F.linear(x, their_weight(state, f"style.{i}.linear"), state[f"style.{i}.linear.bias"]), 0.2)
    return x


def their_images(state: dict[str, Tensor], ws: Tensor, noise: list[Tensor], growth: Growth) -> Tensor:
    """What their generator computes, step by step as theirs does: the slow reference. ws [N, num_ws, w_dim]."""
    x = previous = state["generator.progression.0.conv1.input"].expand(len(ws), -1, -1, -1)
    last = SIZES.index(growth.size)
    for i in range(last + 1):
        block = f"generator.progression.{i}"
        previous, x = x, their_upsampling_conv(x, state, f"{block}.conv1") if i else x
        x = their_style(x, state, block, 1, ws[:, 2 * i], noise[2 * i])
        x = their_style(
            their_conv(x, state, f"{block}.conv2.conv"), state, block, 2, ws[:, 2 * i + 1], noise[2 * i + 1]
        )
    images = their_conv(x, state, f"generator.to_rgb.{last}.conv")
    if last == 0 or growth.alpha == 1:
        return images
    blunt = F.interpolate(their_conv(previous, state, f"generator.to_rgb.{last - 1}.conv"), scale_factor=2)
    return (1 - growth.alpha) * blunt + growth.alpha * images


@pytest.fixture(scope="module")
def io(fixtures: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(data) for name, data in np.load(fixtures / "ros_sg1_io.npz").items()}


@pytest.fixture(scope="module")
def theirs(fixtures: Path) -> dict[str, dict[str, Tensor]]:
    saved = torch.load(fixtures / "ros_sg1_train_step-5.model", weights_only=True)
    return {"G": saved["g_running"], "D": saved["discriminator"]}


@pytest.fixture(scope="module")
def ours(theirs: dict[str, dict[str, Tensor]], io: dict[str, Tensor]) -> Networks:
    """Our networks with the fixture's weights: the averaged generator and the discriminator, in float64."""
    G, D = build_networks(NARROW, 128)
    double = {name: {k: v.double() for k, v in state.items()} for name, state in theirs.items()}
    weights = from_rosinality(double["G"], 128) | {"mapping.w_avg": io["mean_style"][0].double()}
    missing = G.double().load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert {key.rsplit(".", 1)[1] for key in missing.missing_keys} == {"noise_const"}
    D.double().load_state_dict(from_rosinality(double["D"], 128))
    return Networks(G.eval().requires_grad_(False), D.requires_grad_(False))


def noise_of(io: dict[str, Tensor], size: int) -> list[Tensor]:
    """Their noise maps: both layers of a size share one."""
    return [io[f"noise{SIZES.index(s)}"] for s in SIZES[: SIZES.index(size) + 1] for _ in range(2)]


def repeated(w: Tensor) -> Tensor:
    return w[:, None].expand(-1, 2 * len(SIZES), -1)


# These random networks magnify rounding: in float32 two right ways to compute them differ by 4e-4 at 128 px, and so
# does the fixture from the exact numbers. It is therefore met to its tolerance by a reference that rounds in its order;
# ours is held to that reference in float64, where only a difference of the mathematics would show.
FADES = [Growth(size, alpha) for size in SIZES for alpha in (0.3, 1.0)]
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("growth", FADES)
def test_slow_reference_makes_the_fixtures_images(
    theirs: dict[str, dict[str, Tensor]], io: dict[str, Tensor], growth: Growth
) -> None:
    images = their_images(theirs["G"], repeated(io["w"]), noise_of(io, growth.size), growth)
    torch.testing.assert_close(images, io[f"img_s{SIZES.index(growth.size)}_a{growth.alpha}"], **IMAGES)


def test_slow_reference_makes_the_fixtures_truncated_and_mixed_images(
    theirs: dict[str, dict[str, Tensor]], io: dict[str, Tensor]
) -> None:
    noise, growth = noise_of(io, 64), Growth(64, 1.0)
    truncated = io["mean_style"] + 0.7 * (io["w"] - io["mean_style"])
    images = their_images(theirs["G"], repeated(truncated), noise, growth)
    torch.testing.assert_close(images, io["img_s4_trunc0.7"], **IMAGES)
    # The sizes 4 and 8, that is four layers, take the second latents' style.
    mixed = torch.cat([repeated(their_w(theirs["G"], io["z2"]))[:, :4], repeated(io["w"])[:, 4:]], dim=1)
    torch.testing.assert_close(their_images(theirs["G"], mixed, noise, growth), io["img_s4_mix0_1"], **IMAGES)


@pytest.mark.parametrize("growth", FADES)
def test_images_of_every_size_and_fade_equal_the_slow_reference(
    theirs: dict[str, dict[str, Tensor]], ours: Networks, io: dict[str, Tensor], growth: Growth
) -> None:
    ours.G.grow(growth)
    noise = [m.double() for m in noise_of(io, growth.size)]
    w = ours.G.mapping(io["z"])
    state = {name: value.double() for name, value in theirs["G"].items()}
    expected = their_images(state, repeated(w), noise, growth)
    torch.testing.assert_close(ours.G.synthesis(ours.G.mapping.truncate(w, 1.0), noise), expected, **EXACT)


@pytest.mark.parametrize("size", [8, 32, 128])
def test_images_in_float32_are_as_exact_as_the_fixture(ours: Networks, io: dict[str, Tensor], size: int) -> None:
    ours.G.grow(Growth(size, 1.0))
    noise = noise_of(io, size)
    exact = ours.G.synthesis(repeated(io["w"].double()), [m.double() for m in noise])
    images = copy.deepcopy(ours.G).float().synthesis(repeated(io["w"]), noise)
    their_error = (io[f"img_s{SIZES.index(size)}_a1.0"] - exact).square().mean()
    assert (images - exact).square().mean() <= 2 * their_error


def test_mapping_equals_the_reference(ours: Networks, io: dict[str, Tensor]) -> None:
    G = copy.deepcopy(ours.G).float()
    torch.testing.assert_close(G.mapping(io["z"]), io["w"], **IMAGES)
    torch.testing.assert_close(
        G.mapping.truncate(io["w"], 0.7)[:, 0], io["mean_style"] + 0.7 * (io["w"] - io["mean_style"]), **IMAGES
    )


@pytest.mark.parametrize("growth", FADES)
def test_logits_of_every_size_and_fade_equal_the_reference(
    ours: Networks, io: dict[str, Tensor], growth: Growth
) -> None:
    D = copy.deepcopy(ours.D).float()
    D.grow(growth)
    step = f"s{SIZES.index(growth.size)}_a{growth.alpha}"
    torch.testing.assert_close(D(io[f"img_{step}"]), io[f"D_{step}"][:, 0], **IMAGES)


def test_saved_generator_equals_that_of_the_training_checkpoint(fixtures: Path) -> None:
    saved = from_rosinality(torch.load(fixtures / "ros_sg1_010000.model", weights_only=True), 128)
    training = torch.load(fixtures / "ros_sg1_train_step-5.model", weights_only=True)
    torch.testing.assert_close(saved, from_rosinality(training["g_running"], 128), rtol=0, atol=0)
