"""How many faults are found, by their right name, and how many healthy trainings are disturbed.

    python -m benchmarks.health [--healthy 20] [--first 0] [--ticks 40]

Trains tiny networks on drawn discs. Every fault is put into a training that went well until then; it is found when an
alarm of the right name comes within the ticks that follow. Then so many healthy trainings, whose seeds, data and
recipes differ, must end without any alarm.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.draws import Drawing, Reals, draw_step
from stylegan.faces import to_images
from stylegan.health import Alarm, Figures, Watch, diverged
from stylegan.loader import Batch
from stylegan.phases import train_step
from stylegan.random import batch_indices
from stylegan.state import Diverged, TrainState, new_state
from stylegan.vitals import WATCHED

TICK = 8  # steps
WELL = 5  # ticks before a fault
GIVEN = 12  # ticks for an alarm to come

RECIPE: dict[str, Any] = {
    "resolution": 16,
    "batch": 8,
    "gamma": 2.0,
    "r1_interval": 4,
    "path_interval": 0,
    "network": {"z_dim": 16, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16},
}


def disc(seed: int, size: int = 16) -> np.ndarray:
    """A picture with one coloured disc on a coloured ground, uint8 [size, size, 3]."""
    random = np.random.default_rng(seed)
    ground, colour = random.integers(0, 256, (2, 3))
    y, x = np.mgrid[:size, :size] / size
    cx, cy, radius = random.uniform((0.35, 0.35, 0.2), (0.65, 0.65, 0.35))
    inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    return np.asarray(np.where(inside[..., None], colour, ground), np.uint8)


def discs(first: int, count: int) -> Tensor:
    """Pictures, uint8 [count, 3, 16, 16]."""
    return torch.from_numpy(np.stack([disc(first + i) for i in range(count)])).permute(0, 3, 1, 2).contiguous()


class Training:
    """A tiny training under watch."""

    def __init__(self, values: dict[str, Any], num_faces: int = 512, first_face: int = 0) -> None:
        self.config = TrainConfig.model_validate(RECIPE | values)
        self.faces = discs(first_face, num_faces)
        self.state = new_state(*build_networks(self.config.network, 16, self.config.seed), self.config)
        training, held_out = Batch(self.faces[:WATCHED], None), Batch(discs(1_000_000, WATCHED), None)
        self.watch = Watch(self.config, training, held_out)

    def step(self) -> Figures:
        """One step's figures."""
        config, state = self.config, self.state
        rows = batch_indices(config.seed, state.images_seen, config.batch, len(self.faces))
        drawing = Drawing(config, state.step, config.batch, torch.device("cpu"), None, state.augment_p)
        stats = train_step(state, config, draw_step(drawing, state.G, 16), Reals(to_images(self.faces[rows])))
        return {name: float(value) for name, value in stats.items()}

    def ticks(self, inject: Callable[[TrainState], None] | None = None) -> Iterator[list[Alarm]]:
        """The alarms of one tick after the other, for ever; inject is called before every step."""
        while True:
            steps = []
            try:
                for _ in range(TICK):
                    if inject:
                        inject(self.state)
                    steps.append(self.step())
            except Diverged as error:
                yield [diverged(self.state, self.config, error)]
                return
            names = {name for figures in steps for name in figures}
            means = {n: float(np.mean([f[n] for f in steps if n in f])) for n in names}
            yield self.watch.look(self.state, means).alarms


class Fault(NamedTuple):
    """Something that goes wrong from a moment on, and the alarm that it should raise."""

    name: str
    inject: Callable[[TrainState], None]
    says: str = ""  # what the alarm must name
    values: dict[str, Any] = {}
    num_faces: int = 512
    given: int = GIVEN  # ticks for the alarm to come


def set_weight(name: str, value: float, *, first_only: bool = True) -> Callable[[TrainState], None]:
    """Weights of G or D get a value, before every step; the first number of them only, or all."""
    network, key = name.split(".", 1)

    def inject(state: TrainState) -> None:
        weight = getattr(state, network).get_parameter(key).data
        (weight.view(-1)[:1] if first_only else weight).fill_(value)

    return inject


def scale_rate(optimizer: str, factor: float) -> Callable[[TrainState], None]:
    """A learning rate is this many times what it should be."""

    def inject(state: TrainState) -> None:
        group = getattr(state, optimizer).param_groups[0]
        group.setdefault("planned", group["lr"])
        group["lr"] = group["planned"] * factor

    return inject


def spoil_moment(state: TrainState) -> None:
    """Adam's mean of a weight of D becomes NaN."""
    state.opt_D.state[state.D.get_parameter("b8.conv0.weight")]["exp_avg"].view(-1)[0] = torch.nan


def ignore_w(state: TrainState) -> None:
    """No layer of G heeds its style."""
    for name, weight in state.G.synthesis.named_parameters():  # type: ignore[attr-defined]
        if name.endswith("affine.weight"):
            weight.data.zero_()


def hook_once(
    module: Callable[[TrainState], nn.Module], hook: Any, *, before: bool = False
) -> Callable[[TrainState], None]:
    """A layer's inputs or outputs are changed from now on."""

    def inject(state: TrainState) -> None:
        layer = module(state)
        if not (layer._forward_pre_hooks if before else layer._forward_hooks):
            layer.register_forward_pre_hook(hook) if before else layer.register_forward_hook(hook)

    return inject


def two_latents(_: nn.Module, inputs: Any) -> Any:
    """Every latent becomes one of two."""
    return (inputs[0][:, :1].sign().expand_as(inputs[0]), *inputs[1:])


def blob(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    """One spot of the maps becomes far stronger than all others."""
    spot = torch.zeros_like(output)
    spot[:, :, 5, 9] = 60 * output.detach().square().mean().sqrt()
    return output + spot


def mapping(state: TrainState) -> nn.Module:
    """The generator's mapping network."""
    return state.G.get_submodule("mapping")


def set_p(state: TrainState) -> None:
    """Augmentation is at its end."""
    state.augment_p.fill_(1.1)


FAULTS: dict[str, Fault] = {
    "NaN in a weight of G": Fault(
        "not_finite", set_weight("G.synthesis.b8.conv0.weight", torch.nan), "G.synthesis.b8.conv0"
    ),
    "infinity in a weight of D": Fault("not_finite", set_weight("D.b16.conv1.weight", torch.inf), "D.b16.conv1"),
    "NaN in Adam's means": Fault("not_finite", spoil_moment, "D.b8.conv0"),
    "overflow in a layer of G": Fault(
        "not_finite", set_weight("G.synthesis.b16.conv0.bias", 3e38, first_only=False), "G.synthesis.b16.conv0"
    ),
    "12 faces": Fault("discriminator_overfits", lambda _: None, values={"gamma": 0.02}, num_faces=12),
    "lr_D x 100": Fault("exploding", scale_rate("opt_D", 100)),
    "lr_G x 100": Fault("exploding", scale_rate("opt_G", 100)),
    "colours x 1000": Fault("exploding", set_weight("G.synthesis.b16.torgb.bias", 1000.0, first_only=False)),
    "one latent": Fault("collapse", set_weight("G.mapping.fc1.weight", 0.0, first_only=False)),
    "two latents": Fault("collapse", hook_once(mapping, two_latents, before=True)),
    "G ignores its styles": Fault("collapse", ignore_w),
    "droplets": Fault("droplets", hook_once(lambda s: s.G.get_submodule("synthesis.b16.conv1"), blob)),
    "D learns nothing": Fault("imbalance", scale_rate("opt_D", 0)),
    "D says nothing": Fault("imbalance", set_weight("D.b4.out.weight", 0.0, first_only=False)),
    "G learns nothing": Fault("imbalance", scale_rate("opt_G", 0), values={"gamma": 0.0, "lr_D": 0.01}, given=40),
    "augmentation at its end": Fault("augmentation_leaks", set_p, values={"augment": {"mode": "adaptive"}}),
}


class Found(NamedTuple):
    """What came of a fault."""

    alarms: list[Alarm]
    after: int  # ticks from the fault to the first alarm of the right name; 0: none came


@functools.cache
def _gone_well(values: str, num_faces: int) -> Training:
    training = Training(json.loads(values), num_faces)
    alarms = alarms_of(training, WELL)
    assert not alarms, f"a fault is put into a training that goes well, this one says {alarms}"
    return training


def try_fault(fault: Fault) -> Found:
    """Train well for a while, then with the fault, until its alarm or until time is up."""
    training = copy.deepcopy(_gone_well(json.dumps(fault.values), fault.num_faces))
    alarms: list[Alarm] = []
    for tick, new in enumerate(itertools.islice(training.ticks(fault.inject), fault.given), 1):
        alarms += new
        if any(alarm.name == fault.name and fault.says in alarm.says for alarm in new):
            return Found(alarms, tick)
    return Found(alarms, 0)


def alarms_of(training: Training, num_ticks: int) -> list[Alarm]:
    """The alarms of a training's next ticks."""
    return [alarm for new in itertools.islice(training.ticks(), num_ticks) for alarm in new]


def healthy(number: int) -> Training:
    """A healthy training, each with its own seed, faces and recipe."""
    recipes: tuple[dict[str, Any], ...] = (
        {},
        {"path_interval": 4},
        {"gamma": 0.5},
        {"lr_G": 0.004, "lr_D": 0.004},
        {"batch": 16},
    )
    return Training(recipes[number % len(recipes)] | {"seed": number}, 256 + 64 * (number % 4), 1000 * number)


def main() -> int:
    """Print a line for every fault and every healthy training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--healthy", type=int, default=20, help="how many healthy trainings")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first one: others have other seeds and faces"
    )
    parser.add_argument("--ticks", type=int, default=40, help=f"their length, in ticks of {TICK} steps")
    given = parser.parse_args()
    torch.set_num_threads(1)
    num_found = num_disturbed = 0
    for what, fault in FAULTS.items():
        found = try_fault(fault)
        num_found += bool(found.after)
        verdict = f"tick {found.after}" if found.after else "MISSED"
        said = "; ".join(f"{alarm.name}: {alarm.says}" for alarm in found.alarms) or "nothing"
        print(f"{what:26} {fault.name:23} {verdict:8} {said}", flush=True)
    for number in range(given.first, given.first + given.healthy):
        alarms = alarms_of(healthy(number), given.ticks)
        num_disturbed += bool(alarms)
        print(f"healthy {number:2}  {'; '.join(map(str, alarms)) or 'quiet'}", flush=True)
    print(f"{num_found} of {len(FAULTS)} faults found; {num_disturbed} of {given.healthy} healthy trainings disturbed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
