from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import Networks, build_networks
from stylegan.config import R3GANConfig
from stylegan.losses import LOSSES, gradient_at, r1_penalty

FIXTURE = R3GANConfig(z_dim=16, channel_base=384, channel_max=48)
TINY = R3GANConfig(z_dim=8, channel_base=128, channel_max=16)
IMAGES = {"rtol": 1e-4, "atol": 1e-5}
FACES, IMAGENET = R3GANConfig(), R3GANConfig(channel_base=98304, channel_max=1536, group_width=32, num_labels=1000)
CIFAR = R3GANConfig(num_labels=10)

# Within a stage of theirs: a layer of a residual block, and its name in ours.
LAYERS = {
    "LinearLayer1.Layer.weight": "conv0.weight",
    "LinearLayer2.Layer.weight": "conv1.weight",
    "LinearLayer3.Layer.weight": "conv2.weight",
    "NonLinearity1.Bias": "conv0.bias",
    "NonLinearity2.Bias": "conv1.bias",
}


def our_name(theirs: str, resolution: int, blocks: int) -> str:
    """Our name of a weight of theirs, G.* or D.*: the table of r3gan.py."""
    known = {
        "G.Model.MainLayers.0.Layers.0.Basis": "synthesis.b4.basis",
        "G.Model.MainLayers.0.Layers.0.LinearLayer.weight": "synthesis.b4.linear.weight",
        "G.Model.AggregationLayer.Layer.weight": "synthesis.torgb.weight",
        "D.Model.ExtractionLayer.Layer.weight": "fromrgb.weight",
    }
    if theirs in known:
        return known[theirs]
    match = re.fullmatch(r"([GD])\.Model\.MainLayers\.(\d+)\.Layers\.(\d+)\.(.+)", theirs)
    assert match is not None
    stage, layer, rest = int(match[2]), int(match[3]), match[4]
    ours, block = (f"synthesis.b{4 << stage}", layer - 1) if match[1] == "G" else (f"b{resolution >> stage}", layer)
    if rest in LAYERS:
        return f"{ours}.blocks.{block}.{LAYERS[rest]}"
    assert block in (-1, blocks)
    ends = {
        "LinearLayer.Layer.weight": "resize.weight",
        "Basis.weight": "basis.weight",
        "LinearLayer.weight": "head.weight",
    }
    return f"{ours}.{ends[rest]}"


@pytest.fixture(scope="module")
def data(fixtures: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in np.load(fixtures / "r3gan_16.npz").items()}


def renamed(data: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights or gradients of the fixture under our names; prefix G., D., gradG. or gradD."""
    letter = prefix.removeprefix("grad")
    found = {k.replace(prefix, letter, 1): v for k, v in data.items() if k.startswith(prefix)}
    return {our_name(k, 16, 2): v for k, v in found.items() if not k.endswith("Resampler.Kernel")}


@pytest.fixture
def reference(data: dict[str, Tensor]) -> Networks:
    """Our networks with the fixture's weights."""
    G, D = build_networks(FIXTURE, 16)
    G.load_state_dict(renamed(data, "G."))
    D.load_state_dict(renamed(data, "D."))
    return Networks(G, D)


def assert_gradients(network: nn.Module, expected: dict[str, Tensor]) -> None:
    """Every gradient is the fixture's, to 1e-3 of its size."""
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert gradient is not None
        wrong = (gradient - expected[name]).norm() / expected[name].norm()
        assert wrong < 1e-3, f"{name} differs by {wrong:.1e} of its size"


def test_images_equal_the_reference(reference: Networks, data: dict[str, Tensor]) -> None:
    torch.testing.assert_close(reference.G(data["z"]), data["img"], **IMAGES)


def test_logits_equal_the_reference(reference: Networks, data: dict[str, Tensor]) -> None:
    torch.testing.assert_close(reference.D(data["img"]), data["D_img"], **IMAGES)
    torch.testing.assert_close(reference.D(data["real"]), data["D_real"], **IMAGES)


def test_discriminators_step_equals_the_reference(reference: Networks, data: dict[str, Tensor]) -> None:
    D, gamma = reference.D, 0.5
    real, fake = D(data["real"]), D(data["img"])
    r1, r2 = (r1_penalty(gradient_at(D, images)) for images in (data["real"], data["img"]))
    loss = LOSSES["relativistic"].discriminator(real, fake)
    for i, value in enumerate((loss, real - fake, r1, r2)):
        torch.testing.assert_close(value.detach(), data[f"dout{i}"], rtol=1e-3, atol=1e-6)
    (loss + gamma / 2 * (r1 + r2)).mean().backward()
    assert_gradients(D, renamed(data, "gradD."))


def test_generators_step_equals_the_reference(reference: Networks, data: dict[str, Tensor]) -> None:
    real, fake = reference.D(data["real"]), reference.D(reference.G(data["z"]))
    loss = LOSSES["relativistic"].generator(fake, real)
    torch.testing.assert_close(loss.detach(), data["gout0"], **IMAGES)
    torch.testing.assert_close((fake - real).detach(), data["gout1"], **IMAGES)
    loss.mean().backward()
    assert_gradients(reference.G, renamed(data, "gradG."))


@pytest.mark.parametrize(
    ("config", "resolution", "millions"),
    [
        (FACES, 256, ("23.06", "23.01")),
        (FACES, 64, ("22.43", "22.38")),
        (CIFAR, 32, ("20.78", "21.28")),
        (IMAGENET, 64, ("103.6", "107.2")),
    ],
)
def test_parameter_counts_are_the_published_ones(
    config: R3GANConfig, resolution: int, millions: tuple[str, str]
) -> None:
    with torch.device("meta"):
        networks = build_networks(config, resolution)
    for network, published in zip(networks, millions, strict=True):
        count = sum(p.numel() for p in network.parameters()) / 1e6
        assert f"{count:.{len(published.split('.')[1])}f}" == published


def test_fresh_blocks_hand_features_on_and_have_small_branches() -> None:
    G, _ = build_networks(R3GANConfig(channel_base=4096, channel_max=256), 16)
    block = G.synthesis.b4.blocks[0]
    x = torch.randn(2, 256, 4, 4)
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    # Six branches in the network, 256 inputs of the first layer, 16 x 9 of the second.
    gain = (2 / 1.04) ** 0.5 * 6**-0.25
    torch.testing.assert_close(block.conv0.weight.std().item(), gain / 16, rtol=0.02, atol=0)
    torch.testing.assert_close(block.conv1.weight.std().item(), gain / 12, rtol=0.02, atol=0)


def test_truncation_draws_z_towards_zero_and_leaves_the_label() -> None:
    G, _ = build_networks(TINY.model_copy(update={"num_labels": 3}), 8)
    z, labels = torch.randn(2, 8), F.one_hot(torch.tensor([0, 2]), 3).float()
    w = G.mapping(z, labels)
    assert w.shape == (2, G.w_dim) == (2, 16)
    ws = G.mapping.truncate(w, 0.5)
    assert ws.shape == (2, G.num_ws, 16)
    torch.testing.assert_close(ws[:, 0, :8], 0.5 * z)
    torch.testing.assert_close(ws[:, 0, 8:], w[:, 8:])


def test_tracking_leaves_the_mean_of_w_at_zero() -> None:
    G, _ = build_networks(TINY, 8)
    G.mapping.track(torch.ones(4, 8))
    assert not G.mapping.w_avg.any()


def test_labels_change_image_and_logit() -> None:
    G, D = build_networks(TINY.model_copy(update={"num_labels": 2}), 8)
    z, labels = torch.randn(2, 8).expand(2, -1), torch.eye(2)
    images = G(z[:1].expand(2, -1), labels)
    assert not torch.allclose(images[0], images[1])
    logits = D(images[:1].expand(2, -1, -1, -1), labels)
    assert logits[0] != logits[1]


def test_missing_labels_are_refused() -> None:
    G, D = build_networks(TINY.model_copy(update={"num_labels": 2}), 8)
    with pytest.raises(ValueError, match="2 classes"):
        G(torch.randn(2, 8))
    with pytest.raises(ValueError, match="2 classes"):
        D(torch.zeros(2, 3, 8, 8))


def test_widths_that_make_no_whole_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks at 16 px are 24 channels wide, which makes no whole groups of 16"):
        build_networks(R3GANConfig(channel_base=192, channel_max=16), 16)


@pytest.mark.parametrize("num_labels", [0, 3])
def test_slicing_head_separates_direction_and_features(num_labels: int) -> None:
    _, D = build_networks(TINY.model_copy(update={"head": "san", "num_labels": num_labels}), 8)
    labels = torch.eye(3) if num_labels else None
    judgement = D.judge(D.features(torch.randn(3, 3, 8, 8)), labels)
    assert judgement.direction is not None
    torch.testing.assert_close(judgement.logits, judgement.direction)
    judgement.direction.sum().backward()
    learned = {name for name, p in D.named_parameters() if p.grad is not None}
    assert learned == ({"b4.head.weight", "b4.embed.weight"} if num_labels else {"b4.head.weight"})
