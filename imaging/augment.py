"""Altered copies of a face, for sets that are small: one change each, its strength drawn by seed, face and number."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from imaging.cut import cut
from imaging.decode import Image8
from imaging.detect import Box

Kind = Literal["colour", "contrast", "sharpen", "blur", "crop"]
Random = np.random.Generator


class CopyConfig(BaseModel):
    """How many altered copies a training face gets, and what may change in one: Gwern's list of 2019."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    copies: int = Field(ge=1, le=99, description="altered copies of every training face: 2 make the set 3 times as big")
    kinds: tuple[Kind, ...] = Field(
        default=get_args(Kind), min_length=1, description="what may change in a copy, one each; dealt out in turn"
    )

    @field_validator("kinds", mode="before")
    @classmethod
    def _no_flips(cls, kinds: Any) -> Any:
        for kind in kinds if isinstance(kinds, list | tuple) else ():
            if isinstance(kind, str) and any(word in kind.lower() for word in ("flip", "mirror")):
                raise ValueError(
                    f"{kind} is no kind of copy: training mirrors half of what it shows (train.mirror), and a flipped "
                    "copy would be the same face once more; leave it out"
                )
        return kinds

    @field_validator("kinds")
    @classmethod
    def _each_once(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"{', '.join(kinds)}: name each kind once, they are dealt out evenly")
        return kinds


class Altered(NamedTuple):
    """An altered copy, and what was done to it in a few words."""

    image: Image8
    what: str


def alter(image: Image8, face: str, number: int, seed: int, config: CopyConfig) -> Altered:
    """Copy `number` (from 1) of the face of this id, [H, H, 3] like the image.

    Depends on the pixels, seed, face, number and kinds alone: not on how many copies there are, nor on their order. A
    face's copies go through the kinds in an order of its own, so that few copies show all kinds over the set.
    """
    turns = _random(seed, face, 0).permutation(len(config.kinds))
    kind = config.kinds[turns[(number - 1) % len(turns)]]
    return KINDS[kind](image, _random(seed, face, number))


def tint(image: Image8, colour: tuple[int, int, int], share: float) -> Image8:
    """The image mixed with one colour: x + share (colour - x)."""
    return _rounded(image + share * (np.array(colour, np.float32) - image))


def change_contrast(image: Image8, factor: float) -> Image8:
    """Every value so many times as far from the image's mean: m + factor (x - m)."""
    mean = np.float32(image.mean())
    return _rounded(mean + np.float32(factor) * (image - mean))


def blur(image: Image8, sigma: float) -> Image8:
    """The image under a Gaussian of sigma px (mirrored at its border); whole numbers throughout, the same anywhere."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def sharpen(image: Image8, amount: float, sigma: float) -> Image8:
    """Unsharp mask: x + amount (x - blurred x)."""
    return _rounded(image + np.float32(amount) * (image.astype(np.float32) - blur(image, sigma)))


def zoom(image: Image8, square: Box) -> Image8:
    """The square's pixels at the image's own size."""
    return cut(image, square, image.shape[0])


def _tinted(image: Image8, random: Random) -> Altered:
    # More than these few per cent turn skin green, or purple.
    hue, share = random.uniform(), random.uniform(0.03, 0.07)
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 1, 1))
    return Altered(tint(image, (red, green, blue), share), f"colour #{red:02x}{green:02x}{blue:02x} {share:.0%}")


def _contrasted(image: Image8, random: Random) -> Altered:
    # Never near 1: a copy that looks like its face adds nothing.
    away = random.uniform(0.1, 0.25)
    factor = 1 + away if random.uniform() < 0.5 else 1 - away
    return Altered(change_contrast(image, factor), f"contrast x {factor:.2f}")


def _sharpened(image: Image8, random: Random) -> Altered:
    amount = random.uniform(0.5, 1.2)
    return Altered(sharpen(image, amount, _px(image, 1.5)), f"sharpen {amount:.2f}")


def _blurred(image: Image8, random: Random) -> Altered:
    sigma = _px(image, random.uniform(0.7, 1.3))
    return Altered(blur(image, sigma), f"blur {sigma:.2f} px")


def _cropped(image: Image8, random: Random) -> Altered:
    size = image.shape[0]
    side = min(size - 1, round(size * random.uniform(0.85, 0.95)))
    x, y = (int(random.uniform() * (size - side + 1)) for _ in range(2))
    return Altered(zoom(image, Box(x, y, x + side, y + side)), f"crop {side} px at {x}, {y}")


KINDS: dict[Kind, Callable[[Image8, Random], Altered]] = {
    "colour": _tinted,
    "contrast": _contrasted,
    "sharpen": _sharpened,
    "blur": _blurred,
    "crop": _cropped,
}


def _px(image: Image8, at_256: float) -> float:
    """A width in px that looks the same at any size; at 128 px and less it is that of 128: pixels have a width, too."""
    return at_256 * float(max(image.shape[0], 128)) / 256


def _random(seed: int, face: str, number: int) -> Random:
    return np.random.default_rng(list(hashlib.sha256(f"{seed}/{face}/{number}".encode()).digest()))


def _rounded(values: NDArray[np.floating]) -> Image8:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
