"""Images per second that a full-width StyleGAN2 samples: ours, the plain formulation, and a peer.

    python -m benchmarks.sample [--resolutions 64,256,1024] [--precisions float32,bfloat16] [--threads 2]
                                [--compile] [--peer FOLDER]

All lines come from one process, turn by turn, the best turn counts. Mapping, 8 layers, and synthesis with constant
noise; channels as `config-f` has them, 32768 / size and at most 512. See benchmarks/plain.py for what plain means and
benchmarks/peer.py for the peer, which has about these widths and draws its noise.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.peer import Peer
from benchmarks.plain import plain_formulation
from stylegan.architectures import Generator, build_networks
from stylegan.config import TrainConfig
from stylegan.device import choose_device
from stylegan.precision import set_precision


class Sampler(NamedTuple):
    """One line of the table."""

    name: str
    precision: str
    sample: Callable[[], Tensor]
    formulation: Callable[[], AbstractContextManager[None]] = nullcontext


class Seconds(NamedTuple):
    """How long a batch took."""

    cpu: float
    wall: float


def config_of(given: argparse.Namespace, resolution: int) -> TrainConfig:
    """The networks that are measured."""
    network = {"channel_base": given.channel_base, "channel_max": given.channel_max, "conv_clamp": 256}
    values = {"resolution": resolution, "batch": given.batch, "threads": given.threads}
    return TrainConfig.model_validate(values | {"network": network | {"minibatch_group": 1}})


def generator(config: TrainConfig, precision: str, device: torch.device) -> Generator:
    """Our generator, for sampling alone."""
    G = build_networks(config.network, config.resolution).G.to(device).eval().requires_grad_(False)
    set_precision(G, precision, config.low_precision_sizes, config.resolution)  # type: ignore[arg-type]
    return G


def samplers(given: argparse.Namespace, resolution: int, device: torch.device) -> list[Sampler]:
    """The lines of one resolution's table."""
    config, found = config_of(given, resolution), []
    z = torch.randn(given.batch, config.network.z_dim, generator=torch.Generator().manual_seed(0)).to(device)
    for precision in given.precisions.split(","):
        G = generator(config, precision, device)
        found.append(Sampler("ours", precision, partial(G, z)))
        if given.compile:
            mode = "reduce-overhead" if device.type == "cuda" else None
            compiled = torch.compile(G, fullgraph=True, dynamic=False, mode=mode)
            found.append(Sampler("compiled", precision, partial(compiled, z)))
    G = generator(config, "float32", device)
    found.append(Sampler("plain", "float32", partial(G, z), plain_formulation))
    if given.peer is not None:
        peer = Peer(given.peer, config, device)
        found.append(Sampler("peer", "float32", lambda: peer.fakes(given.batch)[0]))
    return found


def timed(sampler: Sampler, device: torch.device) -> Seconds:
    """How long one batch takes."""
    with sampler.formulation(), torch.inference_mode():
        cpu, wall = time.process_time(), time.perf_counter()
        sampler.sample()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def measure(found: list[Sampler], turns: int, device: torch.device) -> list[Seconds]:
    """The best seconds of every sampler; the first turn warms up."""
    for sampler in found:
        timed(sampler, device)
    seconds = [[timed(sampler, device) for sampler in found] for _ in range(turns)]
    return [Seconds(min(s.cpu for s in line), min(s.wall for s in line)) for line in zip(*seconds, strict=True)]


def print_table(given: argparse.Namespace, resolution: int, device: torch.device) -> None:
    """All samplers at one resolution."""
    found = samplers(given, resolution, device)
    best = measure(found, given.turns, device)
    plain = next(b for s, b in zip(found, best, strict=True) if s.name == "plain")
    print(f"\n{resolution} px, batch {given.batch}")
    print(f"{'':18}{'images/s':>10}{'CPU s/image':>14}{'time to plain':>15}")
    for sampler, seconds in zip(found, best, strict=True):
        line = (
            f"{sampler.name:9}{sampler.precision:9}{given.batch / seconds.wall:10.2f}{seconds.cpu / given.batch:14.3f}"
        )
        print(f"{line}{seconds.wall / plain.wall:15.2f}", flush=True)


def main() -> None:
    """Print one table a resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", default="64,256,1024", help="px, with commas between")
    parser.add_argument("--precisions", default="float32,bfloat16", help="float32, bfloat16, float16")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--channel-base", type=int, default=32768)
    parser.add_argument("--channel-max", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--turns", type=int, default=3, help="turns after the first; the best one counts")
    parser.add_argument("--compile", action="store_true", help="compiled generators too: minutes of compiling")
    parser.add_argument("--peer", type=Path, help="folder that the peer was installed into")
    given = parser.parse_args()
    torch.manual_seed(0)
    sizes = [int(size) for size in given.resolutions.split(",")]
    device = choose_device(config_of(given, sizes[0]))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, {name}, {platform.system()}, {given.threads} CPU threads")
    for size in sizes:
        print_table(given, size, device)


if __name__ == "__main__":
    main()
