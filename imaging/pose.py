"""Where a face looks, from its five points."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from imaging.detect import Landmarks


class Pose(NamedTuple):
    """Degrees that a face looks to the picture's right, and that the line of its eyes is tilted clockwise."""

    yaw: float
    roll: float


class PoseConfig(BaseModel):
    """How far from straight ahead a face may look; only where the detector gives landmarks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_yaw: float = Field(default=0.0, ge=0, le=90, description="degrees; 0: any; beyond it a face is not_frontal")
    max_roll: float = Field(default=0.0, ge=0, le=180, description="degrees; 0: any; beyond it a face is not_frontal")


def pose_of(landmarks: Landmarks) -> Pose:
    """Yaw and roll of a face.

    Roll is the angle of the eyes' line. Yaw is asin(2 d), d the nose's way from the middle of eyes and mouth along the
    eyes' line over the distance of the eyes: a nose stands out of the face by about half of that distance.
    """
    (lx, ly), (rx, ry) = landmarks.left_eye, landmarks.right_eye
    distance = math.dist((lx, ly), (rx, ry))
    if distance < 1e-6:
        return Pose(90.0, 0.0)
    ux, uy = (rx - lx) / distance, (ry - ly) / distance
    xs = (landmarks.left_eye[0], landmarks.right_eye[0], landmarks.left_mouth[0], landmarks.right_mouth[0])
    ys = (landmarks.left_eye[1], landmarks.right_eye[1], landmarks.left_mouth[1], landmarks.right_mouth[1])
    aside = ((landmarks.nose[0] - sum(xs) / 4) * ux + (landmarks.nose[1] - sum(ys) / 4) * uy) / distance
    return Pose(math.degrees(math.asin(max(-1.0, min(1.0, 2 * aside)))), math.degrees(math.atan2(uy, ux)))


def pose_reason(pose: Pose | None, config: PoseConfig) -> str:
    """`not_frontal` for a face that looks too far aside or is tilted too far, else ""; "" where nothing is known."""
    if pose is None:
        return ""
    aside = config.max_yaw and abs(pose.yaw) > config.max_yaw
    tilted = config.max_roll and abs(pose.roll) > config.max_roll
    return "not_frontal" if aside or tilted else ""
