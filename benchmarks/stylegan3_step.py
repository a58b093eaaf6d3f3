"""CPU seconds per kimg of a StyleGAN3 training step, as it is and in the plain formulation it replaces.

    OMP_NUM_THREADS=1 python -m benchmarks.stylegan3_step [--architecture stylegan3-t] [--turns 3]

Both columns come from one process, turn by turn, on one thread; the ratio is what counts. Plain means what the
reference runs without its CUDA kernels: weights for every image in a grouped convolution, one axis of the filters at
a time over zero-stuffed signals, and samples thrown away after filtering. The generator's line is its pass forward
and back; the step's is a whole step, loss of both networks, with R1 in every 16th.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import Networks, build_networks, stylegan2_discriminator, stylegan3
from stylegan.config import StyleGAN3Config
from stylegan.losses import r1_penalty
from stylegan.operators import upfirdn2d

BATCH, RESOLUTION, R1_INTERVAL = 8, 64, 16


def plain_modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    padding: int = 0,
    demodulate: bool = True,
    input_gain: Tensor | None = None,
) -> Tensor:
    """modulated_conv2d with weights of its own for every image, in one grouped convolution."""
    n, (outputs, inputs, size, _) = len(x), weight.shape
    weights = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    if input_gain is not None:
        weights = weights * input_gain
    whole = size - 1  # the plain convolution keeps every sample; what is of no use goes afterwards
    grouped = x.reshape(1, n * inputs, *x.shape[2:])
    y = F.conv2d(grouped, weights.reshape(n * outputs, inputs, size, size), padding=whole, groups=n)
    y = y.reshape(n, outputs, *y.shape[2:])
    return F.pad(y, [padding - whole] * 4) if padding != whole else y


def plain_filtered_lrelu(
    x: Tensor,
    bias: Tensor,
    *,
    up_taps: Tensor | None,
    down_taps: Tensor | None,
    up: int,
    down: int,
    padding: tuple[int, int, int, int],
    gain: float,
    slope: float,
    clamp: float,
) -> Tensor:
    """filtered_lrelu on zero-stuffed signals, all of them kept for the gradient."""
    x = x + bias[:, None, None]
    u = filtered(x, up_taps, up=(up, up), padding=padding, gain=up**2)
    u = (F.leaky_relu(u, slope) * gain).clamp(-clamp, clamp)
    return filtered(u, down_taps)[:, :, ::down, ::down]


def filtered(
    x: Tensor,
    taps: Tensor | None,
    *,
    up: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
) -> Tensor:
    """Zero-stuffed, padded and filtered with 1-D taps along x and y in turn, or with 2-D taps at once."""
    if taps is None:
        return upfirdn2d(x, torch.ones(1, 1), up=up, padding=padding, gain=gain)
    if taps.ndim == 2:
        return upfirdn2d(x, taps, up=up, padding=padding, gain=gain)
    return upfirdn2d(upfirdn2d(x, taps[None, :], up=up, padding=padding, gain=gain), taps[:, None])


def plain_downsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """downsampling_conv2d that filters every pixel first and keeps every second one of the result."""
    if weight.shape[-1] == 1:
        return F.conv2d(upfirdn2d(x, kernel, padding=(1, 1, 1, 1))[:, :, ::2, ::2], weight, bias)
    return F.conv2d(upfirdn2d(x, kernel, padding=(2, 2, 2, 2)), weight, bias, stride=2)


@contextmanager
def plain_formulation() -> Iterator[None]:
    """Generators and discriminators run in the plain formulation within this block."""
    plain = {
        (stylegan3, "modulated_conv2d"): plain_modulated_conv2d,
        (stylegan3, "filtered_lrelu"): plain_filtered_lrelu,
        (stylegan2_discriminator, "downsampling_conv2d"): plain_downsampling_conv2d,
    }
    own = {(module, name): getattr(module, name) for module, name in plain}
    for (module, name), function in plain.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for (module, name), function in own.items():
            setattr(module, name, function)


def pieces(networks: Networks) -> dict[str, Callable[[], object]]:
    """The pieces that a step is made of, by name."""
    G, D = networks
    random = torch.Generator().manual_seed(0)
    z = torch.randn(BATCH, G.z_dim, generator=random)
    reals = torch.rand(BATCH, 3, RESOLUTION, RESOLUTION, generator=random) * 2 - 1

    def generator() -> None:
        G(z).square().mean().backward()

    def generator_loss() -> None:
        D.requires_grad_(False)
        F.softplus(-D(G(z))).mean().backward()  # type: ignore[no-untyped-call]
        D.requires_grad_(True)

    def discriminator_loss() -> None:
        with torch.no_grad():
            fakes = G(z)
        (F.softplus(D(fakes)) + F.softplus(-D(reals))).mean().backward()  # type: ignore[no-untyped-call]

    def penalty() -> None:
        images = reals.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(D(images).sum(), images, create_graph=True)
        r1_penalty(gradient).mean().backward()  # type: ignore[no-untyped-call]

    return {"G": generator, "loss_G": generator_loss, "loss_D": discriminator_loss, "r1": penalty}


def measure(work: Callable[[], object], turns: int) -> tuple[float, float]:
    """CPU seconds per kimg of the work, as it is and in the plain formulation, the best of some turns each."""
    own, plain = [], []
    work()
    for _ in range(turns):
        own.append(cpu_seconds(work))
        with plain_formulation():
            plain.append(cpu_seconds(work))
    return min(own) / BATCH * 1000, min(plain) / BATCH * 1000


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds that the work takes, of all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print one line a piece and one for the whole step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="stylegan3-t", choices=["stylegan3-t", "stylegan3-r"])
    parser.add_argument("--turns", type=int, default=3, help="turns of each formulation; the best one counts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = StyleGAN3Config(architecture=given.architecture, channel_base=8192, channel_max=128)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {platform.system()}")
    print(f"{given.architecture}, {RESOLUTION} px, batch {BATCH}, channel base 8192, channel max 128, float32")
    found = {name: measure(work, given.turns) for name, work in pieces(build_networks(config, RESOLUTION)).items()}
    own, plain = (found["loss_G"][i] + found["loss_D"][i] + found["r1"][i] / R1_INTERVAL for i in (0, 1))
    print(f"{'':8} {'CPU-s/kimg':>10} {'plain':>10}  ratio")
    for name, (ours, theirs) in (found | {"step": (own, plain)}).items():
        print(f"{name:8} {ours:10.0f} {theirs:10.0f}  {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
