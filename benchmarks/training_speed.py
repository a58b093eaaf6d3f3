"""Seconds per kimg of a training step, as the networks are and in the plain formulation they replace.

    python -m benchmarks.training_speed [--presets toon,auto] [--threads 2] [--steps 20]

Both columns come from the same run, on the same machine, turn by turn; the ratio is what counts. Plain means what
StyleGAN2's reference runs without its CUDA kernels: weights for every image in a grouped convolution, filters on
zero-stuffed pictures, and pictures thrown away after filtering. A step is averaged over a whole cycle of the lazy
regularisers; data loading is not in it.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import build_networks, stylegan2, stylegan2_discriminator
from stylegan.config import TrainConfig
from stylegan.draws import Drawing, Reals, draw_step
from stylegan.operators import demodulation, upfirdn2d
from stylegan.phases import train_step
from stylegan.presets import resolve
from stylegan.state import TrainState, new_state
from stylegan.device import choose_device


def plain_modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, upsample: Tensor | None = None
) -> Tensor:
    """modulated_conv2d with weights of its own for every image, in one grouped convolution."""
    n, (outputs, inputs, k, _) = len(x), weight.shape
    weights = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weights = weights * demodulation(weight, style)[:, :, None, None, None]
    grouped = x.reshape(1, n * inputs, *x.shape[2:])
    if upsample is None:
        y = F.conv2d(grouped, weights.reshape(n * outputs, inputs, k, k), padding=k // 2, groups=n)
    else:
        turned = weights.transpose(1, 2).reshape(n * inputs, outputs, k, k)
        y = F.conv_transpose2d(grouped, turned, stride=2, groups=n)
        y = upfirdn2d(y, upsample, padding=(1, 1, 1, 1), gain=4.0)
    return y.reshape(n, outputs, *y.shape[2:])


def plain_downsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """downsampling_conv2d that filters every pixel first and keeps every second one of the result."""
    if weight.shape[-1] == 1:
        return F.conv2d(upfirdn2d(x, kernel, padding=(1, 1, 1, 1))[:, :, ::2, ::2], weight)
    return F.conv2d(upfirdn2d(x, kernel, padding=(2, 2, 2, 2)), weight, stride=2)


def plain_upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """upsample2d by filtering a zero-stuffed picture."""
    return upfirdn2d(x, kernel, up=(2, 2), padding=(2, 1, 2, 1), gain=4.0)


@contextmanager
def plain_formulation() -> Iterator[None]:
    """Networks run in the plain formulation within this block."""
    plain = {
        (stylegan2, "modulated_conv2d"): plain_modulated_conv2d,
        (stylegan2, "upsample2d"): plain_upsample2d,
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


def seconds_per_step(state: TrainState, config: TrainConfig, reals: Tensor, steps: int) -> float:
    """Mean seconds of so many steps from the present one on."""
    device = reals.device
    start = time.perf_counter()
    for _ in range(steps):
        draws = draw_step(Drawing(config, state.step, config.batch, device), state.G, config.resolution)
        train_step(state, config, draws, Reals(reals))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def measure(config: TrainConfig, steps: int, turns: int) -> tuple[float, float]:
    """Seconds per kimg as it is and in the plain formulation, the best of some turns each."""
    device = choose_device(config)
    G, D = build_networks(config.network, config.resolution)
    state = new_state(G.to(device), D.to(device), config)
    size = config.resolution
    reals = torch.rand(config.batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
    own, plain = [], []
    seconds_per_step(state, config, reals, 2)
    for _ in range(turns):
        own.append(seconds_per_step(state, config, reals, steps))
        with plain_formulation():
            plain.append(seconds_per_step(state, config, reals, steps))
    return min(own) / config.batch * 1000, min(plain) / config.batch * 1000


def main() -> None:
    """Print one line a preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="toon", help="names in stylegan.presets.PRESETS, with commas between")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = what the preset says")
    parser.add_argument("--steps", type=int, default=16, help="steps a turn; 16 are one cycle of lazy R1")
    parser.add_argument("--turns", type=int, default=3, help="turns of each formulation; the best one counts")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {platform.system()}")
    print(f"{'preset':14} {'px':>4} {'batch':>5}  {'s/kimg':>8}  {'plain s/kimg':>12}  ratio")
    for preset in given.presets.split(","):
        config = resolve(preset, {"threads": given.threads} if given.threads else {})
        own, plain = measure(config, given.steps, given.turns)
        print(f"{preset:14} {config.resolution:4} {config.batch:5}  {own:8.2f}  {plain:12.2f}  {plain / own:5.2f}")


if __name__ == "__main__":
    main()
