"""What a drawn person looks like: the palettes, and one draw of all the traits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from imaging.toon.canvas import Colour, Points, luminance, mix

SKINS: dict[str, Colour] = {
    "porcelain": (255, 226, 209),
    "fair": (250, 211, 184),
    "peach": (244, 194, 160),
    "honey": (229, 175, 131),
    "olive": (211, 160, 117),
    "caramel": (192, 135, 95),
    "brown": (168, 113, 79),
    "deep": (142, 94, 68),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (44, 38, 48),
    "espresso": (72, 48, 42),
    "brown": (112, 72, 48),
    "chestnut": (146, 84, 52),
    "auburn": (160, 66, 42),
    "ginger": (216, 116, 54),
    "blond": (232, 190, 108),
    "platinum": (242, 226, 190),
    "grey": (168, 170, 180),
    "pink": (232, 122, 160),
    "teal": (52, 146, 154),
    "violet": (128, 88, 168),
}
HAIR_WEIGHTS = (4, 4, 4, 3, 2.5, 2.5, 3, 1.5, 1.5, 1, 0.8, 0.8)
# On the three darkest skins: mostly dark hair, which is also what leaves the forehead the brightest part of the head.
DARK_SKIN_HAIR_WEIGHTS = (8, 6, 4, 2, 1.5, 0, 0, 0, 1, 0.5, 0.8, 0.8)
HAIR_STYLES = (
    "crop", "quiff", "curls", "afro", "bob", "long", "waves", "ponytail",
    "bun", "fringe", "braids", "bald", "scarf", "beanie", "pixie", "spikes",
)  # fmt: skip
HAIR_STYLE_WEIGHTS = (3, 3, 2.5, 2, 3, 3, 3, 2.5, 2.5, 2.5, 1.5, 1.2, 1.5, 1.5, 2.5, 2)
IRISES: tuple[Colour, ...] = ((74, 44, 30), (96, 62, 36), (52, 98, 84), (58, 96, 148), (84, 110, 60), (60, 64, 84))
CLOTHES: tuple[Colour, ...] = (
    (222, 82, 78), (244, 168, 72), (248, 208, 96), (94, 168, 120), (58, 128, 132), (66, 110, 178),
    (52, 62, 104), (132, 92, 160), (232, 132, 150), (246, 240, 228), (84, 88, 100), (190, 126, 88),
)  # fmt: skip
OUTFITS = ("crew", "vneck", "shirt", "hoodie", "turtleneck", "stripes", "suit", "dungarees")
MOUTHS = ("smile", "grin", "teeth", "smirk", "calm", "lips", "surprise")
MOUTH_WEIGHTS = (4, 2.5, 3, 1.5, 2, 3, 0.8)
BEARDS = ("none", "stubble", "moustache", "goatee", "beard")
BEARD_WEIGHTS = (0.52, 0.14, 0.11, 0.09, 0.14)
BEARDABLE = ("crop", "quiff", "curls", "afro", "bald", "beanie", "spikes")


class Pose(NamedTuple):
    """Where a head is on the picture: px of its centre, px of half its box, turns in degrees."""

    x: float
    y: float
    unit: float
    roll: float
    yaw: float
    pitch: float

    def flat(self, points: Points) -> Points:
        """Head units to px, by scale, roll about the chin and shift."""
        c, s = math.cos(math.radians(self.roll)), math.sin(math.radians(self.roll))
        turned = (points - PIVOT) @ np.array([[c, s], [-s, c]]) + PIVOT
        return np.asarray(turned * self.unit + (self.x, self.y))

    def wrap(self, points: Points) -> Points:
        """Head units to px for what lies on the front of the head: yaw and pitch move it over the round of the head."""
        x = HEAD_DEPTH * np.sin(np.arcsin(np.clip(points[:, 0] / HEAD_DEPTH, -1, 1)) + math.radians(self.yaw))
        y = points[:, 1] + 0.9 * math.sin(math.radians(self.pitch))
        return self.flat(np.stack([x, y], axis=1))

    def upright(self, points: Points) -> Points:
        """Head units to px without the turns: the body."""
        return points * self.unit + (self.x, self.y)


PIVOT = (0.0, 0.85)
HEAD_DEPTH = 1.2


class Build(NamedTuple):
    """The shape of one person: factors around 1, shifts in head units; `variant` is 1, 2 or 3."""

    width: float
    jaw: float
    variant: int
    hair_length: float
    hair_bulk: float
    parting: float
    hairline_rise: float
    shoulders: float


class Traits(NamedTuple):
    """One person; sizes are factors around 1."""

    build: Build
    skin_name: str
    skin: Colour
    hair_style: str
    hair_name: str
    hair: Colour
    brow: Colour
    iris: Colour
    eye_style: str
    eye_size: float
    eye_gap: float
    lashes: bool
    gaze: tuple[float, float]
    brow_tilt: float
    brow_raise: float
    brow_weight: float
    nose: str
    mouth: str
    mouth_width: float
    lips: Colour
    beard: str
    blush: float
    freckles: bool
    glasses: str
    earrings: bool
    outfit: str
    cloth: Colour
    cloth_accent: Colour
    mirrored: bool
    blink: bool = False


def in_shadow(skin: Colour, amount: float) -> Colour:
    """A skin in shadow: darker and redder, since a grey shadow makes it look dirty."""
    return mix(skin, (84, 26, 28), amount)


def draw_traits(random: np.random.Generator) -> Traits:
    """One random person."""
    skin_name = str(random.choice(list(SKINS)))
    hair_style = str(_pick(random, HAIR_STYLES, HAIR_STYLE_WEIGHTS))
    hair_name = str(_pick(random, tuple(HAIR_COLOURS), _hair_weights(skin_name)))
    skin, hair = SKINS[skin_name], HAIR_COLOURS[hair_name]
    lashes = bool(random.random() < (0.12 if hair_style in BEARDABLE else 0.75))
    beard = str(_pick(random, BEARDS, BEARD_WEIGHTS)) if hair_style in BEARDABLE and not lashes else "none"
    cloth, accent = random.choice(len(CLOTHES), 2, replace=False)
    return Traits(
        build=_draw_build(random, lashes),
        skin_name=skin_name,
        skin=skin,
        hair_style=hair_style,
        hair_name=hair_name,
        hair=hair,
        brow=_brow_colour(hair, skin),
        iris=IRISES[int(random.integers(len(IRISES)))],
        eye_style=str(random.choice(("open", "dots"), p=(0.78, 0.22))),
        eye_size=float(random.uniform(0.92, 1.14)),
        eye_gap=float(random.uniform(0.95, 1.05)),
        lashes=lashes,
        gaze=(float(random.normal(0, 0.022)), float(random.normal(0.005, 0.012))),
        brow_tilt=float(np.clip(random.normal(-0.028, 0.025), -0.08, 0.012)),
        brow_raise=float(random.uniform(-0.03, 0.05)),
        brow_weight=float(random.uniform(0.7, 1.05) if lashes else random.uniform(0.9, 1.4)),
        nose=str(random.choice(("button", "wedge", "hook"))),
        mouth=str(_pick(random, MOUTHS, MOUTH_WEIGHTS)),
        mouth_width=float(random.uniform(0.88, 1.15)),
        lips=_lip_colour(skin, float(random.uniform(0.3, 0.9)) if lashes else 0.15),
        beard=beard,
        blush=float(random.uniform(0.15, 0.5)),
        freckles=bool(random.random() < 0.12),
        glasses=str(random.choice(("none", "round", "square"), p=(0.77, 0.13, 0.10))),
        earrings=bool(lashes and random.random() < 0.4),
        outfit=str(random.choice(OUTFITS)),
        cloth=CLOTHES[int(cloth)],
        cloth_accent=CLOTHES[int(accent)],
        mirrored=bool(random.random() < 0.5),
    )


def _hair_weights(skin_name: str) -> tuple[float, ...]:
    return DARK_SKIN_HAIR_WEIGHTS if skin_name in ("caramel", "brown", "deep") else HAIR_WEIGHTS


def _draw_build(random: np.random.Generator, lashes: bool) -> Build:
    return Build(
        width=float(random.uniform(0.93, 1.06)),
        jaw=float(random.uniform(0.9, 1.0) if lashes else random.uniform(0.96, 1.1)),
        variant=int(random.integers(1, 4)),
        hair_length=float(random.uniform(0.72, 1.25)),
        hair_bulk=float(random.uniform(0.93, 1.10)),
        parting=float(random.uniform(-0.22, 0.22)),
        hairline_rise=float(random.uniform(-0.03, 0.08)),
        shoulders=float(random.uniform(0.86, 1.10)),
    )


def _pick(random: np.random.Generator, names: tuple[str, ...], weights: tuple[float, ...]) -> str:
    shares = np.asarray(weights, np.float64)
    return names[int(random.choice(len(names), p=shares / shares.sum()))]


def _brow_colour(hair: Colour, skin: Colour) -> Colour:
    # Light hair gets darker brows, as on most heads; and brows must stand out from a dark skin.
    limit = 0.62 * luminance(skin)
    share = min(1.0, max(0.25, 1 - limit / max(0.05, luminance(hair))))
    return mix(hair, (34, 24, 30), share)


def _lip_colour(skin: Colour, redness: float) -> Colour:
    return mix(in_shadow(skin, 0.22), (196, 58, 70), 0.35 + 0.55 * redness)
