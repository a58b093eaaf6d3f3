"""What augmentation does to every image of a batch, drawn at random: numbers first, then what they stand for.

The random numbers of an image lie in its row. A transformation that an image is spared gets, in place of its number,
the neutral one, at which the transformation leaves images as they are: so p enters here and nowhere else.
Strengths are those of Karras et al. 2020 (arXiv:2006.06676), appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Numbers = Mapping[str, Tensor]  # step of the pipeline -> its numbers, [N, columns]


class Step(NamedTuple):
    """One use of a transformation, and the numbers it takes for an image."""

    transform: str
    kind: Literal["uniform", "normal"]
    neutral: float
    columns: int = 1


# In the order of application. Rotation comes before and after the anisotropic scaling, so that this has any direction.
STEPS = {
    "xflip": Step("xflip", "uniform", 0.0),
    "rotate90": Step("rotate90", "uniform", 0.0),
    "xint": Step("xint", "uniform", 0.5, 2),
    "scale": Step("scale", "normal", 0.0),
    "rotate": Step("rotate", "uniform", 0.5),
    "aniso": Step("aniso", "normal", 0.0),
    "rotate_after": Step("rotate", "uniform", 0.5),
    "xfrac": Step("xfrac", "normal", 0.0, 2),
    "brightness": Step("brightness", "normal", 0.0),
    "contrast": Step("contrast", "normal", 0.0),
    "lumaflip": Step("lumaflip", "uniform", 0.0),
    "hue": Step("hue", "uniform", 0.5),
    "saturation": Step("saturation", "normal", 0.0),
    **{f"band{i}": Step("imgfilter", "normal", 0.0) for i in range(4)},
    "noise": Step("noise", "normal", 0.0),
    "cutout": Step("cutout", "uniform", -1.0, 2),
}


def draw_numbers(
    transforms: Sequence[str], count: int, generator: torch.Generator, device: torch.device
) -> tuple[Numbers, Numbers]:
    """The numbers of every step that the transformations take, and the lots [N, 1] in 0 .. 1 that decide on it."""
    names = [name for name, step in STEPS.items() if step.transform in transforms]
    widths = {kind: [STEPS[n].columns for n in names if STEPS[n].kind == kind] for kind in ("uniform", "normal")}
    # Two tensors, so that few copies go to a device: the lots of all steps, then the numbers.
    home = generator.device
    uniform = torch.rand(count, len(names) + sum(widths["uniform"]), generator=generator, device=home).to(device)
    normal = torch.randn(count, sum(widths["normal"]), generator=generator, device=home).to(device)
    columns = {
        "uniform": iter(torch.split(uniform[:, len(names) :], widths["uniform"], dim=1)),
        "normal": iter(torch.split(normal, widths["normal"], dim=1)),
    }
    numbers = {name: next(columns[STEPS[name].kind]) for name in names}
    return numbers, {name: uniform[:, i : i + 1] for i, name in enumerate(names)}


def spare(numbers: Numbers, lots: Numbers, p: Tensor) -> Numbers:
    """The numbers, neutral where an image's lot is p or more.

    The two rotations share p: each has 1 - sqrt(1 - p), so that an image is spared both with probability 1 - p.
    """
    chance = dict.fromkeys(numbers, p)
    chance |= {name: 1 - (1 - p).clamp(0, 1).sqrt() for name in numbers if STEPS[name].transform == "rotate"}
    return {name: torch.where(lots[name] < chance[name], n, STEPS[name].neutral) for name, n in numbers.items()}


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Matrices that multiply the coordinates by x and y [N, 1], [N, 3, 3]."""
    return torch.diag_embed(torch.cat([x, y, torch.ones_like(x)], dim=1))


def rotation(angle: Tensor) -> Tensor:
    """Matrices that turn by an angle [N, 1], [N, 3, 3]."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.cat([c, -s, zero, s, c, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)


def translation(shift: Tensor) -> Tensor:
    """Matrices that move by x and y in px [N, 2], [N, 3, 3]."""
    matrix = torch.eye(3, device=shift.device, dtype=shift.dtype).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix


# Every function below answers with the inverse of what it is called after: where in the input an output pixel lies.


def xflip(u: Tensor, size: int) -> Tensor:
    """Mirrored left to right, or not."""
    return scaling(1 - 2 * (2 * u).floor(), torch.ones_like(u))


def rotate90(u: Tensor, size: int) -> Tensor:
    """Turned by 0, 90, 180 or 270 degrees."""
    return rotation((4 * u).floor() * (math.pi / 2))


def xint(u: Tensor, size: int) -> Tensor:
    """Moved by whole pixels, up to 1/8 of the size each way."""
    return translation(-((2 * u - 1) * (0.125 * size)).round())


def scale(n: Tensor, size: int) -> Tensor:
    """Enlarged by a log-normal factor, 2^(0.2 n)."""
    factor = torch.exp2(-0.2 * n)
    return scaling(factor, factor)


def rotate(u: Tensor, size: int) -> Tensor:
    """Turned by any angle."""
    return rotation((2 * u - 1) * math.pi)


def aniso(n: Tensor, size: int) -> Tensor:
    """Stretched in x by 2^(0.2 n), squeezed in y by the same."""
    factor = torch.exp2(-0.2 * n)
    return scaling(factor, 1 / factor)


def xfrac(n: Tensor, size: int) -> Tensor:
    """Moved by fractions of a pixel, normally distributed with 1/8 of the size."""
    return translation(-0.125 * size * n)


GEOMETRY = {
    "xflip": xflip,
    "rotate90": rotate90,
    "xint": xint,
    "scale": scale,
    "rotate": rotate,
    "aniso": aniso,
    "rotate_after": rotate,
    "xfrac": xfrac,
}


def geometry(numbers: Numbers, size: int) -> Tensor | None:
    """Where in the input every output pixel lies, in px from the centre, as matrices [N, 3, 3]; none: not moved."""
    matrices = [inverse(numbers[name], size) for name, inverse in GEOMETRY.items() if name in numbers]
    if not matrices:
        return None
    product = matrices[0]
    for matrix in matrices[1:]:
        # Not `@`, which on some devices rounds to ten bits (TF32): half a pixel at 1024.
        product = (product[:, :, :, None] * matrix[:, None]).sum(dim=2)
    return product


def colour(numbers: Numbers) -> Tensor | None:
    """What becomes of colours: shift, gain of the grey part, gain and angle of the coloured, [N, 4]; none: nothing.

    Brightness (+ 0.2 n) comes first, contrast (* 2^(0.5 n)), luma flip, hue (any angle) and saturation (* 2^n) follow.
    All of them scale the grey axis, or scale and turn the plane across it: they are products and need no matrices.
    """
    steps = ("brightness", "contrast", "lumaflip", "hue", "saturation")
    given = [n for name, n in numbers.items() if name in steps]
    if not given:
        return None
    neutral = {name: torch.full_like(given[0], STEPS[name].neutral) for name in steps}
    brightness, contrast, lumaflip, hue, saturation = (numbers.get(name, neutral[name]) for name in steps)
    gain = torch.exp2(0.5 * contrast)
    luma = gain * (1 - 2 * (2 * lumaflip).floor())
    return torch.cat([0.2 * brightness * luma, luma, gain * torch.exp2(saturation), (2 * hue - 1) * math.pi], dim=1)


BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # share of natural images' power in each frequency band, lowest first


def band_gains(numbers: Numbers) -> Tensor | None:
    """How much the four frequency bands are amplified, [N, 4]; none: not at all.

    Each in turn by 2^n, and after each all by so much that the expected power of natural images stays.
    """
    if "band0" not in numbers:
        return None
    gains = [torch.exp2(numbers[f"band{i}"]) for i in range(4)]
    power = math.prod(1 + share * (gain.square() - 1) for share, gain in zip(BAND_POWER, gains, strict=True))
    return torch.cat(gains, dim=1) * torch.as_tensor(power).rsqrt()


def noise_strength(numbers: Numbers) -> Tensor:
    """Standard deviation of the noise, [N, 1]: 0.1 |n|."""
    return 0.1 * numbers["noise"].abs()
