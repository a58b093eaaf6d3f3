"""Training on from somebody else's weights: what must fit, and where growing networks begin."""

from __future__ import annotations

from torch import Tensor

from stylegan.config import TrainConfig
from stylegan.foreign.donor import expected_shapes
from stylegan.growth import growth_at

CLOSE = 1 / 255  # in [-1, 1]: half a grey level of eight bits
NAMED = 6  # layers that a message names; it counts the rest


def check_donor(name: str, donor: TrainConfig, images_seen: int, config: TrainConfig) -> None:
    """Raise ValueError unless a training of this config can begin with the donor's networks; layers are named.

    name: what messages call it; images_seen: what the donor had seen, which says how far it had grown.
    """
    if donor.resolution != config.resolution:
        raise ValueError(
            f"{name} was trained at {donor.resolution} px, this config asks for {config.resolution}: "
            "choose a donor of the same resolution, or train from nothing with start=None"
        )
    theirs, ours = donor.network.model_dump(), config.network.model_dump()
    names = list(ours) + [k for k in theirs if k not in ours]
    different = [
        f"{k} {theirs.get(k, 'unknown')} there, {ours.get(k, 'unknown')} here"
        for k in names
        if theirs.get(k) != ours.get(k)
    ]
    if different:
        layers = different_layers(donor, config)
        more = f", and {len(layers) - NAMED} more" if len(layers) > NAMED else ""
        raise ValueError(
            f"{name} holds another network than this config asks for ({'; '.join(different)}; layers that differ: "
            f"{'; '.join(layers[:NAMED]) or 'none'}{more}): choose a donor of the same network, or train from nothing "
            "with start=None"
        )
    check_grown(name, donor, images_seen)


def different_layers(donor: TrainConfig, config: TrainConfig) -> list[str]:
    """Weights of which only one of two configs' networks has one, or another shape, in the order of the networks."""
    found = []
    theirs, ours = expected_shapes(donor), expected_shapes(config)
    for network in ("G", "D"):
        there, here = theirs[network], ours[network]
        for key in [*here, *(k for k in there if k not in here)]:
            shapes = [str(list(shapes[key])) if key in shapes else "missing" for shapes in (there, here)]
            if shapes[0] != shapes[1]:
                found.append(f"{network}.{key} {shapes[0]} there, {shapes[1]} here")
    return found


def check_grown(name: str, donor: TrainConfig, images_seen: int) -> None:
    """Raise ValueError for a donor whose last layers were never trained."""
    if donor.growth is None:
        return
    growth = growth_at(donor.growth, donor.resolution, images_seen)
    if growth.size < donor.resolution or growth.alpha < 1:
        raise ValueError(
            f"{name} has grown to {growth.size} px only (alpha {growth.alpha:.2f}), its networks are made for "
            f"{donor.resolution}: choose a later checkpoint, or go on with that training"
        )


def at_last_size(config: TrainConfig) -> TrainConfig:
    """The config of a training from a donor: growing is behind it, the whole resolution is its only size."""
    if config.growth is None:
        return config
    return config.model_copy(update={"growth": config.growth.model_copy(update={"start": config.resolution})})


def check_same_grid(name: str, donor: Tensor, first: Tensor) -> None:
    """Raise ValueError unless the training's first samples are the donor's; both images [N, C, H, W]."""
    if donor.shape != first.shape:
        raise ValueError(
            f"{name} makes images of shape {list(donor.shape[1:])}, the training begins with {list(first.shape[1:])}: "
            "choose a donor of the same resolution, channels and size"
        )
    difference = float((donor - first).abs().max())
    if not difference < CLOSE:
        raise ValueError(
            f"the first samples differ from those of {name} by up to {difference:.4f} in [-1, 1], {CLOSE:.4f} would be "
            "rounding: the training would not begin where the donor ended; look at its config, or import it again"
        )
