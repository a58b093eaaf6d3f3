"""What a foreign file gives once it is understood: a config of ours, and weights by our names."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.foreign.records import UnreadableFile, clip
from stylegan.random import generator

W_AVG_BATCH, W_AVG_PARTS = 1000, 10
MAX_NUMBER = 2**20  # of anything that a config says
NAMED = 4  # wrong layers that a message names; it counts the rest


@dataclasses.dataclass(frozen=True)
class Donor:
    """Networks of another project in our words."""

    config: TrainConfig
    tensors: dict[str, dict[str, Tensor]]  # by network (G_ema, and G and D where the file holds them), float32
    images_seen: int | None = None  # None: the file does not say
    notes: tuple[str, ...] = ()  # what was made up or left aside


class Hints(NamedTuple):
    """What is known of a file beside its contents."""

    name: str = ""  # the file's
    resolution: int | None = None  # px, asked for; only files that do not say themselves heed it


def make_donor(
    network: Mapping[str, Any],
    resolution: int,
    tensors: dict[str, dict[str, Tensor]],
    hints: Hints,
    images_seen: int | None = None,
    notes: Iterable[str] = (),
) -> Donor:
    """A donor whose weights are those of its config's networks, name by name and shape by shape."""
    if "G_ema" not in tensors:
        raise UnreadableFile("holds no averaged generator")
    if hints.resolution not in (None, resolution):
        raise UnreadableFile(f"holds networks of {resolution} px, asked for are {hints.resolution} px")
    for key, value in network.items():
        if isinstance(value, (int, float)) and not -MAX_NUMBER < value < MAX_NUMBER:
            raise UnreadableFile(f"{key} is {clip(value)}: no network has so much")
    group = int(network.get("minibatch_group", 4))
    values = {"resolution": resolution, "batch": math.lcm(32, max(group, 1)), "network": dict(network)}
    try:
        config = TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableFile(f"holds networks that this project has not: {place}: {first['msg']}") from error
    try:
        expected = expected_shapes(config)
    except ValueError as error:  # a rule that the networks have for their config
        raise UnreadableFile(f"holds networks that this project has not: {error}") from error
    tensors = {name: dict(weights) for name, weights in tensors.items()}
    for name, weights in tensors.items():
        kind = "D" if name == "D" else "G"
        if network.get("discriminator" if name == "D" else "generator") == "orig":
            notes = [*notes, *_small_colours(name, weights, expected[kind])]
        check_fit(name, weights, expected[kind])
    floats = {name: {k: v.detach().float().contiguous() for k, v in w.items()} for name, w in tensors.items()}
    return Donor(config, floats, images_seen, tuple(notes))


def _small_colours(name: str, weights: dict[str, Tensor], expected: Mapping[str, torch.Size]) -> list[str]:
    """Fill with zeros the colours of smaller sizes, which only networks that grow have; say so."""
    absent = [k for k in expected if k not in weights and re.search(r"b\d+\.(torgb|fromrgb)\.", k)]
    weights |= {k: torch.zeros(expected[k]) for k in absent}
    return [f"{name} has colours of its whole size alone: those of smaller ones are zeros"] if absent else []


def expected_shapes(config: TrainConfig) -> dict[str, dict[str, torch.Size]]:
    """Names and shapes of a config's weights, by network; nothing is allocated, whatever sizes a file asks for."""
    with torch.device("meta"):
        G, D = build_networks(config.network, config.resolution)
    return {name: {k: v.shape for k, v in net.state_dict().items()} for name, net in (("G", G), ("D", D))}


def check_fit(name: str, weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    """Raise UnreadableFile with the names of the layers that are missing, unknown, or of another shape."""
    wrong = [f"{k} is missing" for k in expected if k not in weights]
    wrong += [f"{k} is unknown" for k in weights if k not in expected]
    wrong += [
        f"{k} has shape {list(v.shape)}, expected {list(expected[k])}"
        for k, v in weights.items()
        if k in expected and v.shape != expected[k]
    ]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise UnreadableFile(f"{name} does not fit its own config: {'; '.join(wrong[:NAMED])}{more}")


def channel_rule(widths: Mapping[int, int], what: str) -> dict[str, int]:
    """channel_base and channel_max such that min(base / resolution, max) gives the widths by resolution."""
    most = max(widths.values())
    narrow = [size * width for size, width in widths.items() if width < most]
    base = narrow[0] if narrow else most * max(widths)
    wrong = {size: width for size, width in widths.items() if min(base // size, most) != width}
    if wrong:
        raise UnreadableFile(f"{what} has channels by resolution {dict(widths)}: no channel_base gives them")
    return {"channel_base": base, "channel_max": most}


def images_of_snapshot(hints: Hints) -> int | None:
    """Images seen by a snapshot of NVIDIA's, which stand in the file's name alone: network-snapshot-KIMG.pkl."""
    found = re.fullmatch(r"network-snapshot-(\d{6})\.pkl", hints.name)
    return None if found is None else int(found[1]) * 1000


def state_dict(value: Any, what: str) -> dict[str, Tensor]:
    """A dictionary of tensors by name, checked to be one."""
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) and v.is_floating_point() for k, v in value.items()
    ):
        raise UnreadableFile(f"{what} is {clip(value)}, expected weights by name")
    return dict(value)


@torch.no_grad()
def computed_w_avg(donor: Donor) -> Donor:
    """The donor with w_avg computed as the mean over latents of a fixed seed, for files that do not hold it."""
    tensors = {name: dict(weights) for name, weights in donor.tensors.items()}
    for name in tensors.keys() - {"D"}:
        G, _ = build_networks(donor.config.network, donor.config.resolution)
        G.load_state_dict(tensors[name])
        keyed = generator(0, "import/w_avg")
        parts = [G.mapping(torch.randn(W_AVG_BATCH, G.z_dim, generator=keyed)).sum(dim=0) for _ in range(W_AVG_PARTS)]
        tensors[name]["mapping.w_avg"] = torch.stack(parts).sum(dim=0) / (W_AVG_BATCH * W_AVG_PARTS)
    note = f"the file holds no mean of w: w_avg is the mean over {W_AVG_BATCH * W_AVG_PARTS:,} latents of a fixed seed"
    return dataclasses.replace(donor, tensors=tensors, notes=(*donor.notes, note))
