"""Every faster path held to the plain one: derivatives written out, shorter number formats, compiled objectives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Networks, build_networks
from stylegan.config import TrainConfig
from stylegan.derivatives import BiasLeakyReLU, Fir, fir
from stylegan.operators import bias_act, modulated_conv2d, resample_filter, upfirdn2d
from stylegan.precision import Sized, set_precision

SMALL = {"z_dim": 32, "w_dim": 32, "mapping_layers": 2, "channel_base": 512, "channel_max": 32}


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def networks(precision: str = "float32", sizes: int = 4, **network: Any) -> Networks:
    config = TrainConfig.model_validate({"resolution": 32, "network": SMALL | network})
    G, D = build_networks(config.network, 32, seed=1)
    for module in (G, D):
        set_precision(module, precision, sizes, 32)  # type: ignore[arg-type]
    return Networks(G, D)


def distance(a: Tensor, b: Tensor) -> float:
    """How far a is from b, relative to b."""
    return float(((a - b).norm() / b.norm()).detach())


# Up, down, padding: as upsampling, downsampling, and the blurs before and after strided convolutions have it.
FIRS = [(2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (1, 1)), (1, 1, (2, 2)), (2, 1, (2, 2)), (1, 2, (2, 1))]


@pytest.mark.parametrize(("up", "down", "padding"), FIRS)
@pytest.mark.parametrize("size", [6, 7])
def test_a_filters_derivatives_are_filters(up: int, down: int, padding: tuple[int, int], size: int) -> None:
    x, kernel = randn(2, 3, size, size).requires_grad_(), randn(4, 4, seed=1)

    def filtered(x: Tensor) -> Tensor:
        y: Tensor = Fir.apply(x, kernel, up, down, padding)  # type: ignore[no-untyped-call]
        return y

    slow = upfirdn2d(x, kernel, up=(up, up), down=(down, down), padding=padding * 2, flip=True)
    torch.testing.assert_close(filtered(x), slow)
    assert torch.autograd.gradcheck(filtered, x)
    assert torch.autograd.gradgradcheck(filtered, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("up", "down", "padding"), FIRS)
def test_filters_in_16_bits_round_the_same_sums(
    dtype: torch.dtype, up: int, down: int, padding: tuple[int, int]
) -> None:
    x = randn(2, 5, 8, 8, dtype=torch.float32).to(dtype)
    y = fir(x, resample_filter(), up, down, padding)
    expected = fir(x.double(), resample_filter().double(), up, down, padding)
    torch.testing.assert_close(y.double(), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize("biased", [True, False])
def test_the_activations_derivatives_are_the_plain_ones(clamp: float | None, gain: float, biased: bool) -> None:
    x, b = randn(2, 3, 4, 4).requires_grad_(), randn(3, seed=1).requires_grad_() if biased else None

    def fast(x: Tensor, *b: Tensor) -> Tensor:
        y: Tensor = BiasLeakyReLU.apply(x, *b or (None,), 0.2, gain, clamp)  # type: ignore[no-untyped-call]
        return y

    def plain(x: Tensor, *b: Tensor) -> Tensor:
        y = F.leaky_relu(x + b[0][:, None, None] if b else x, 0.2) * gain
        return y if clamp is None else y.clamp(-clamp, clamp)

    inputs = (x,) if b is None else (x, b)
    torch.testing.assert_close(fast(*inputs), plain(*inputs))
    for first, second in itertools.pairwise(
        torch.autograd.grad(f(*inputs).pow(3).sum(), inputs, create_graph=True) for f in (fast, plain)
    ):
        torch.testing.assert_close(first, second)
    assert torch.autograd.gradgradcheck(fast, inputs)


def test_the_activation_leaves_its_input_as_it_was() -> None:
    x = randn(2, 3, 4, 4)
    before = x.clone()
    bias_act(x, None, activation="lrelu", clamp=0.1)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


def test_float16_modulation_survives_styles_and_weights_that_would_overflow() -> None:
    x = randn(2, 64, 8, 8, dtype=torch.float32)
    weight, style = randn(64, 64, 3, 3, seed=1).float() * 100, randn(2, 64, seed=2).float() * 1000
    expected = modulated_conv2d(x, weight, style)
    torch.testing.assert_close(modulated_conv2d(x.half(), weight, style).float(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_highest_resolutions_compute_in_16_bits(precision: str) -> None:
    for network in networks(precision, sizes=2):
        found = {m.resolution: m.dtype for m in network.modules() if isinstance(m, Sized)}
        low = getattr(torch, precision)
        expected = {4: torch.float32, 8: torch.float32, 16: low, 32: low}
        assert found == {size: expected[size] for size in found}
        assert all(p.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.01), ("float16", 0.005)])
def test_16_bits_stay_near_float32_in_images_logits_and_gradients(precision: str, tolerance: float) -> None:
    z = randn(8, 32, dtype=torch.float32)
    results = []
    for chosen in ("float32", precision):
        G, D = networks(chosen)
        images = G(z)
        logits = D(images)
        logits.sum().backward()
        assert images.dtype == logits.dtype == torch.float32
        gradients = [torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]) for m in (G, D)]
        results.append([images.detach(), logits.detach(), *gradients])
    # A rounded feature may fall on the other side of a leaky ReLU's bend: gradients differ by more than values.
    for exact, rounded, factor in zip(*results, (1, 1, 10, 10), strict=True):
        assert 0 < distance(rounded, exact) < tolerance * factor


def test_second_derivatives_in_bfloat16_stay_near_float32() -> None:
    x, found = randn(4, 3, 32, 32, dtype=torch.float32), []
    for precision in ("float32", "bfloat16"):
        _, D = networks(precision)
        images = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(D(images).sum(), images, create_graph=True)
        slope.square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None]))
    assert distance(found[1], found[0]) < 0.05


@pytest.mark.parametrize("sizes", [1, 2, 4])
@pytest.mark.parametrize("kinds", [("skip", "skip"), ("resnet", "resnet"), ("orig", "orig")])
def test_every_kind_of_joining_takes_16_bits_at_any_size(sizes: int, kinds: tuple[str, str]) -> None:
    z = randn(4, 32, dtype=torch.float32)
    exact = networks(generator=kinds[0], discriminator=kinds[1])
    G, D = networks("bfloat16", sizes, generator=kinds[0], discriminator=kinds[1])
    assert distance(G(z), exact.G(z)) < 0.03
    assert distance(D(exact.G(z)), exact.D(exact.G(z))) < 0.05


def test_float16_clamps_what_the_config_does_not() -> None:
    G, _ = networks("float16", sizes=1)
    synthesis: Any = G.synthesis
    assert synthesis.b32.conv1.clamp == synthesis.b32.torgb.clamp == 256
    assert synthesis.b16.conv1.clamp is None


def test_float32_can_be_set_again() -> None:
    z, (G, _) = randn(2, 32, dtype=torch.float32), networks("bfloat16")
    set_precision(G, "float32", 4, 32)
    torch.testing.assert_close(G(z), networks().G(z), rtol=0, atol=0)


def test_float32_leaves_a_network_of_double_precision_as_it_is() -> None:
    _, D = networks("float32")
    assert D.double()(randn(4, 3, 32, 32)).dtype == torch.float64


def test_an_architecture_without_16_bit_layers_says_so() -> None:
    config = TrainConfig.model_validate({"resolution": 32, "network": {"architecture": "dcgan", "channels": 4}})
    G, _ = build_networks(config.network, 32)
    with pytest.raises(ValueError, match="dcgan has no layers that compute in bfloat16: leave precision at float32"):
        set_precision(G, "bfloat16", 4, 32)
    set_precision(G, "float32", 4, 32)
