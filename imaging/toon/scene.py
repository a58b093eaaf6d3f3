"""A whole drawn picture: size, background, people, light; and the truth of its faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imaging.toon.background import paint_background
from imaging.toon.body import draw_person
from imaging.toon.canvas import Canvas, Image, ramp_image
from imaging.toon.traits import Pose, Traits, draw_traits

Box = tuple[int, int, int, int]
Cast = Literal["usual", "nobody", "tiny"]

# The square that the cascade answers, measured on 1,500 drawn faces: half its side and how far its centre lies under
# the head's, in head units; and how far it moves for a turned head, in head units a degree.
BOX_GROWTH = 1.17
BOX_DROP = 0.06
YAW_SHIFT = 0.018
PITCH_SHIFT = 0.016


class ToonConfig(BaseModel):
    """What the drawn source draws; the pictures are a pure function of (seed, index, this)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: int = Field(600, ge=1, le=1_000_000, description="How many pictures there are; indices run below it.")
    fault_rate: float = Field(0.18, ge=0, le=0.9, description="Share of the pictures with a planted fault.")
    min_side: int = Field(512, ge=256, le=4096, description="Shortest side of a picture, px.")
    max_side: int = Field(1200, ge=256, le=4096, description="Longest side of a picture, px.")
    min_face: int = Field(
        120, ge=40, le=1000, description="Smallest side of a face's box, px, unless planted too small."
    )
    max_face: int = Field(420, ge=40, le=2000, description="Largest side of a face's box, px.")
    jpeg_quality: int = Field(92, ge=50, le=100, description="Quality of the JPEG pictures.")
    png_share: float = Field(0.06, ge=0, le=1, description="Share of the pictures without a fault that are PNG.")

    @model_validator(mode="after")
    def _check_order(self) -> ToonConfig:
        for least, most in (("min_side", "max_side"), ("min_face", "max_face")):
            low, high = getattr(self, least), getattr(self, most)
            if low > high:
                raise ValueError(f"{least} is {low}, more than {most}, which is {high}: choose {least} <= {most}")
        return self


class ToonFace(NamedTuple):
    """One drawn face: its box in px of the upright picture, and what was drawn."""

    box: Box
    skin: str
    hair_style: str
    hair_colour: str
    glasses: str
    beard: str
    mouth: str
    yaw: float
    roll: float
    pitch: float


@dataclass(frozen=True)
class Scene:
    """A picture and its faces before anything is done to it."""

    image: Image
    faces: tuple[ToonFace, ...]
    background: str


def draw_scene(random: np.random.Generator, config: ToonConfig, cast: Cast = "usual", *, blink: bool = False) -> Scene:
    """Draw one scene; the same generator state gives the same scene, with eyes closed if `blink`."""
    people = 0 if cast == "nobody" else int(random.choice((1, 2, 3), p=(0.52, 0.33, 0.15)))
    width, height = _picture_size(random, config, people)
    canvas = Canvas(np.zeros((height, width, 3), np.uint8))
    background = paint_background(canvas, random)
    light = -1 if random.random() < 0.5 else 1
    poses = (
        _tiny_poses(random, width, height, people) if cast == "tiny" else _poses(random, config, width, height, people)
    )
    faces = []
    for pose in sorted(poses, key=lambda pose: pose.unit):
        traits = draw_traits(random)._replace(blink=blink)
        draw_person(canvas, pose, traits, light)
        faces.append(_face_truth(pose, traits))
    _light(canvas.image, random, light)
    return Scene(canvas.image, tuple(faces), background)


def face_box(pose: Pose) -> Box:
    """The square from brow to chin that a frontal cascade answers for a head in this pose, half-open px."""
    centre = pose.flat(np.array([(YAW_SHIFT * pose.yaw, BOX_DROP + PITCH_SHIFT * pose.pitch)]))[0]
    half = pose.unit * BOX_GROWTH
    x0, y0 = (round(float(value) - half) for value in centre)
    side = round(2 * half)
    return x0, y0, x0 + side, y0 + side


def _face_truth(pose: Pose, traits: Traits) -> ToonFace:
    return ToonFace(
        box=face_box(pose),
        skin=traits.skin_name,
        hair_style=traits.hair_style,
        hair_colour=traits.hair_name,
        glasses=traits.glasses,
        beard=traits.beard,
        mouth=traits.mouth,
        yaw=round(pose.yaw, 2),
        roll=round(pose.roll, 2),
        pitch=round(pose.pitch, 2),
    )


def _picture_size(random: np.random.Generator, config: ToonConfig, people: int) -> tuple[int, int]:
    low, high = config.min_side, config.max_side
    long = low + (high - low) * (0.15 + 0.28 * max(1, people) * random.uniform(0.3, 1.0))
    aspect = random.uniform(0.75, 1.0) if people < 2 else random.uniform(0.62, 0.85)
    short = max(low, long * aspect)
    width, height = (round(long), round(short)) if people > 1 or random.random() < 0.5 else (round(short), round(long))
    return min(width, high), min(height, high)


def _poses(random: np.random.Generator, config: ToonConfig, width: int, height: int, people: int) -> list[Pose]:
    slot = width / max(1, people)
    smallest, largest = (side / 2 / BOX_GROWTH for side in (config.min_face, config.max_face))
    poses = []
    for i in range(people):
        unit = min(slot * random.uniform(0.22, 0.263), height * random.uniform(0.17, 0.24))
        unit = min(largest, max(smallest, unit))
        # Room for hair above and shoulders below: a square of 1.6 boxes about the face fits into the picture.
        room = 1.6 * BOX_GROWTH * unit
        x = slot * (i + 0.5) + random.uniform(-0.5, 0.5) * max(0.0, slot - 2 * room)
        y = room + max(0.0, height - 2 * room) * random.uniform(0.15, 0.75) - BOX_DROP * unit
        poses.append(_turned(random, x, y, unit))
    return poses


def _tiny_poses(random: np.random.Generator, width: int, height: int, people: int) -> list[Pose]:
    slot = width / people
    unit = random.uniform(13, 23)
    floor = height * random.uniform(0.86, 0.95)
    return [
        _turned(random, slot * (i + random.uniform(0.35, 0.65)), floor - 8.8 * size, size)
        for i, size in enumerate(unit * random.uniform(0.9, 1.1, people))
    ]


def _turned(random: np.random.Generator, x: float, y: float, unit: float) -> Pose:
    roll, yaw, pitch = random.normal(0, 3.5), random.normal(0, 5.0), random.normal(0, 1.5)
    return Pose(x, y, unit, float(np.clip(roll, -9, 9)), float(np.clip(yaw, -12, 12)), float(np.clip(pitch, -3, 3)))


def _light(image: Image, random: np.random.Generator, light: int) -> None:
    """Multiply the scene by a soft light from one side, warm or cool, in place."""
    warmth = float(random.uniform(-0.03, 0.05))
    depth = float(random.uniform(0.03, 0.18))
    tint = np.array([min(1.0, 1 + warmth), 1.0, min(1.0, 1 - warmth)])
    near, far = (tuple(np.rint(255 * tint * level).astype(int).tolist()) for level in (1.0, 1.0 - depth))
    height, width = image.shape[:2]
    lamp = ramp_image(width, height, near, far, 50 if light < 0 else 130)
    cv2.multiply(image, lamp, dst=image, scale=1 / 255)
