"""CPU and wall seconds per kimg of a StyleGAN2 training step, by phase: ours, the plain formulation, and a peer.

    python -m benchmarks.train_step [--resolutions 64,128] [--precisions float32,bfloat16] [--threads 1]
                                    [--compile] [--peer FOLDER]

All lines come from one process, turn by turn, the best turn of every phase counts; the ratios are what lasts. A phase
is loss, backward pass and optimiser's step; R1 counts a sixteenth and path length a quarter (lazy regularisation),
`rest` is the random draws and the averaged generator. GFLOP are those of our formulation, backward passes included,
2 for a multiplication and addition: the useful ones, by which all lines are measured. Data loading is not in it.
See benchmarks/plain.py for what plain means, benchmarks/peer.py for the peer and how it is installed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.peer import Peer
from benchmarks.plain import plain_formulation
from stylegan.architectures import build_networks
from stylegan.compiled import compiled_objectives
from stylegan.config import TrainConfig
from stylegan.device import choose_device
from stylegan.draws import Drawing, Reals, draw_step
from stylegan.objectives import PLAIN, Objectives
from stylegan.phases import (
    Step,
    accumulate_discriminator,
    accumulate_generator,
    accumulate_path_length,
    accumulate_penalty,
    apply_gradients,
)
from stylegan.ranks import Ranks, batch_parts
from stylegan.state import new_state, train_only, update_average

SHARES = {"generator": 1.0, "path": 1 / 4, "discriminator": 1.0, "penalty": 1 / 16, "rest": 1.0}
PHASES = tuple(SHARES)


class Contender(NamedTuple):
    """One line of the table."""

    name: str
    precision: str
    phases: dict[str, Callable[[], None]]
    formulation: Callable[[], AbstractContextManager[None]] = nullcontext


class Seconds(NamedTuple):
    """How long one phase took."""

    cpu: float
    wall: float


def config_of(given: argparse.Namespace, resolution: int, precision: str) -> TrainConfig:
    """The training that is measured."""
    network = {"channel_base": given.channel_base, "channel_max": given.channel_max, "conv_clamp": 256}
    values = {"resolution": resolution, "batch": given.batch, "threads": given.threads, "precision": precision}
    return TrainConfig.model_validate(values | {"network": network})


class OurStep:
    """Networks, and the phases of a step with them."""

    def __init__(self, config: TrainConfig, device: torch.device, objectives: Objectives = PLAIN) -> None:
        G, D = build_networks(config.network, config.resolution)
        self.config, self.device = config, device
        self.state = new_state(G.to(device), D.to(device), config)
        size = config.resolution
        reals = torch.rand(config.batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1
        parts = batch_parts(config.batch, config.micro_batch, config.network.minibatch_group)
        draws = draw_step(Drawing(config, 0, config.batch, device), G, size)
        self.step = Step(self.state, config, draws, Reals(reals), parts, Ranks(), objectives)

    def generator(self) -> None:
        """The generator's loss."""
        assert self.step.draws.generator is not None
        train_only(self.state.opt_D, on=False)
        accumulate_generator(self.step, self.step.draws.generator)
        apply_gradients(self.step, self.state.opt_G, self.state.G, "G")
        train_only(self.state.opt_D, on=True)

    def path(self) -> None:
        """The path length."""
        draws = self.step.draws
        assert draws.path is not None
        assert draws.path_noise is not None
        accumulate_path_length(self.step, draws.path, draws.path_noise, self.config.path_weight)
        apply_gradients(self.step, self.state.opt_G, self.state.G, "G")

    def discriminator(self) -> None:
        """The discriminator's loss."""
        accumulate_discriminator(self.step)
        apply_gradients(self.step, self.state.opt_D, self.state.D, "D")

    def penalty(self) -> None:
        """R1."""
        accumulate_penalty(self.step, self.config.r1_gamma)
        apply_gradients(self.step, self.state.opt_D, self.state.D, "D")

    def rest(self) -> None:
        """Random draws (of a step without path length) and the averaged generator."""
        draw_step(Drawing(self.config, 1, self.config.batch, self.device), self.state.G, self.config.resolution)
        update_average(self.state.G_ema, self.state.G, 0.999)

    def phases(self) -> dict[str, Callable[[], None]]:
        """The phases by name."""
        return {name: getattr(self, name) for name in PHASES}


def contenders(given: argparse.Namespace, resolution: int, device: torch.device) -> list[Contender]:
    """The lines of one resolution's table."""
    found = []
    for precision in given.precisions.split(","):
        config = config_of(given, resolution, precision)
        found.append(Contender("ours", precision, OurStep(config, device).phases()))
        if given.compile:
            objectives = compiled_objectives(config, device)
            found.append(Contender("compiled", precision, OurStep(config, device, objectives).phases()))
    config = config_of(given, resolution, "float32")
    found.append(Contender("plain", "float32", OurStep(config, device).phases(), plain_formulation))
    if given.peer is not None:
        found.append(Contender("peer", "float32", Peer(given.peer, config, device).phases()))
    return found


def timed(contender: Contender, phase: str, device: torch.device) -> Seconds:
    """How long a contender takes for one phase."""
    with contender.formulation():
        cpu, wall = time.process_time(), time.perf_counter()
        contender.phases[phase]()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def measure(found: list[Contender], turns: int, device: torch.device) -> list[dict[str, Seconds]]:
    """The best seconds of every phase of every contender; the first turn warms up."""
    best: list[dict[str, Seconds]] = [{} for _ in found]
    for turn in range(turns + 1):
        for contender, kept in zip(found, best, strict=True):
            for phase in contender.phases:
                now = timed(contender, phase, device)
                if turn:
                    before = kept.get(phase, now)
                    kept[phase] = Seconds(min(now.cpu, before.cpu), min(now.wall, before.wall))
    return best


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts by torch's own formulas; its FlopCounterMode does not bear gradients inside of gradients."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count it."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        return out


def gflop_per_image(contender: Contender, batch: int) -> float:
    """Billions of floating-point operations of a step for one image, regularisers by their shares."""
    total = 0.0
    for phase, run in contender.phases.items():
        with FlopCounter() as counter:  # type: ignore[no-untyped-call]
            run()
        total += SHARES[phase] * counter.total
    return total / batch / 1e9


def per_kimg(seconds: float, batch: int) -> float:
    """Seconds for a thousand images."""
    return seconds / batch * 1000


def print_table(given: argparse.Namespace, resolution: int, device: torch.device) -> None:
    """All contenders at one resolution."""
    found = contenders(given, resolution, device)
    gflop = gflop_per_image(found[0], given.batch)
    best = measure(found, given.turns, device)
    sums = [[sum(SHARES[p] * s[i] for p, s in kept.items()) for kept in best] for i in (0, 1)]
    plain = next(i for i, c in enumerate(found) if c.name == "plain")
    # On CUDA the processor only hands out the work: there wall seconds say how long it took.
    kind = 1 if device.type == "cuda" else 0
    print(f"\n{resolution} px, batch {given.batch}, {gflop:.1f} GFLOP/img; phases in {['CPU', 'wall'][kind]} s/kimg")
    print(
        f"{'':18}"
        + "".join(f"{p:>14}" for p in PHASES)
        + f"{'CPU s/kimg':>12}{'wall':>8}{'GFLOP/s':>10}{'to plain':>10}"
    )
    for i, (contender, kept) in enumerate(zip(found, best, strict=True)):
        shares = [per_kimg(SHARES[p] * kept[p][kind], given.batch) if p in kept else 0.0 for p in PHASES]
        cpu, wall = (per_kimg(sums[k][i], given.batch) for k in (0, 1))
        rate, ratio = gflop * 1000 / (cpu, wall)[kind], sums[kind][i] / sums[kind][plain]
        line = f"{contender.name:9}{contender.precision:9}" + "".join(f"{s:14.1f}" for s in shares)
        print(f"{line}{cpu:12.1f}{wall:8.1f}{rate:10.0f}{ratio:10.2f}", flush=True)


def main() -> None:
    """Print one table a resolution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", default="64,128", help="px, with commas between")
    parser.add_argument("--precisions", default="float32,bfloat16", help="float32, bfloat16, float16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channel-base", type=int, default=8192)
    parser.add_argument("--channel-max", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--turns", type=int, default=3, help="turns after the first; the best one counts")
    parser.add_argument("--compile", action="store_true", help="compiled phases too: minutes of compiling")
    parser.add_argument("--peer", type=Path, help="folder that the peer was installed into")
    given = parser.parse_args()
    torch.manual_seed(0)
    sizes = [int(size) for size in given.resolutions.split(",")]
    device = choose_device(config_of(given, sizes[0], "float32"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"torch {torch.__version__}, {name}, {platform.system()}, {given.threads} CPU threads")
    for size in sizes:
        print_table(given, size, device)


if __name__ == "__main__":
    main()
