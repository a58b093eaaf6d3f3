"""Yaw and roll against a head that is turned, and against real pictures mirrored and turned."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.align import square_up
from imaging.decode import Image8, decode
from imaging.detect import Landmarks, Point
from imaging.pose import Pose, PoseConfig, pose_of, pose_reason

# Eyes, nose and corners of the mouth of a head, in distances of its eyes; z points at the camera.
HEAD = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.55, 0.5), (-0.4, 1.1, 0), (0.4, 1.1, 0)])


def seen(yaw: float, roll: float = 0.0) -> Landmarks:
    """The head's points in a picture, from far away, 100 px between the eyes of a face that looks ahead."""
    a, b = math.radians(yaw), math.radians(roll)
    turn = np.array([(math.cos(a), 0, math.sin(a)), (0, 1, 0), (-math.sin(a), 0, math.cos(a))])
    tilt = np.array([(math.cos(b), -math.sin(b), 0), (math.sin(b), math.cos(b), 0), (0, 0, 1)])
    points: list[Point] = [(float(x) * 100 + 300, float(y) * 100 + 300) for x, y, _ in HEAD @ (tilt @ turn).T]
    return Landmarks(*points)


def surest_points(image: Image8, yunet: Path) -> Landmarks | None:
    """The points of the face that YuNet is surest of."""
    detector = cv2.FaceDetectorYN.create(str(yunet), "", (image.shape[1], image.shape[0]), 0.7, 0.3, 5000)
    _, faces = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if faces is None:
        return None
    points: list[Point] = [(float(x), float(y)) for x, y in faces[0, 4:14].reshape(5, 2)]
    return Landmarks(*points)


def surest_pose(image: Image8, yunet: Path) -> Pose:
    """The pose of that face, looked at again where it stands upright."""
    points = surest_points(image, yunet)
    if points is None:
        return Pose(math.nan, math.nan)
    return pose_of(square_up(image, points, lambda cut: surest_points(cut, yunet)))


def poses(realdata: Path, prefix: str, step: int, degrees: float = 0.0, mirrored: bool = False) -> list[Pose]:
    """The poses in pictures that are turned clockwise about their middle or mirrored before anything is looked for."""
    found = []
    for path in sorted((realdata / "real_photos").glob(f"{prefix}_*"))[::step]:
        image = decode(path.read_bytes()).image
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
        image = np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        image = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        found.append(surest_pose(image, realdata / "assets" / "face_detection_yunet_2023mar.onnx"))
    return found


def test_a_turned_and_tilted_head_has_its_own_angles() -> None:
    for yaw, roll in itertools.product((-60, -25, 0, 10, 45, 80), (-100, -20, 0, 35, 170)):
        np.testing.assert_allclose(pose_of(seen(yaw, roll)), (yaw, roll), atol=1e-6)


def test_a_face_that_looks_to_the_right_of_the_picture_has_a_positive_yaw() -> None:
    assert pose_of(Landmarks((80, 100), (120, 100), (110, 120), (85, 140), (115, 140))).yaw == pytest.approx(
        26.565, 1e-4
    )


def test_a_head_with_its_right_eye_lower_is_tilted_clockwise() -> None:
    assert pose_of(Landmarks((80, 100), (120, 140), (90, 140), (70, 150), (100, 180))).roll == pytest.approx(45)


def test_eyes_in_one_place_are_a_profile() -> None:
    assert pose_of(Landmarks(*[(5.0, 5.0)] * 5)) == (90, 0)


def test_mirrored_pictures_give_the_negated_angles(realdata: Path) -> None:
    there = np.array(poses(realdata, "aaf", 20) + poses(realdata, "lfw", 4))
    back = np.array(poses(realdata, "aaf", 20, mirrored=True) + poses(realdata, "lfw", 4, mirrored=True))
    both = np.isfinite(there + back).all(axis=1)
    assert both.sum() >= 30
    assert np.median(np.abs(there + back)[both], axis=0).max() < 5  # what YuNet is off by
    assert np.corrcoef(there[both, 0], -back[both, 0])[0, 1] > 0.85


@pytest.mark.parametrize("degrees", [-20, 12])
def test_turned_pictures_change_the_roll_by_as_much(realdata: Path, degrees: float) -> None:
    change = np.array(poses(realdata, "aaf", 20, degrees)) - np.array(poses(realdata, "aaf", 20))
    change = change[np.isfinite(change).all(axis=1)]
    assert len(change) >= 18
    assert np.median(change[:, 1]) == pytest.approx(degrees, rel=0.1)
    assert np.median(np.abs(change[:, 0])) < 5


def test_studio_portraits_look_ahead_and_a_quarter_of_old_portraits_do_not(realdata: Path) -> None:
    config = PoseConfig(max_yaw=25)
    studio = [pose_reason(pose, config) for pose in poses(realdata, "london", 2)]
    old = [pose_reason(pose, config) for pose in poses(realdata, "voteview", 6) if math.isfinite(pose.yaw)]
    assert studio == [""] * 12
    assert 0.15 < old.count("not_frontal") / len(old) < 0.45


def test_limits_are_for_both_sides_and_zero_switches_them_off() -> None:
    config = PoseConfig(max_yaw=25, max_roll=30)
    for pose in (Pose(25, 30), Pose(-25, -30), Pose(0, 0), None):
        assert pose_reason(pose, config) == ""
    for pose in (Pose(25.1, 0), Pose(-25.1, 0), Pose(0, 30.1), Pose(0, -30.1)):
        assert pose_reason(pose, config) == "not_frontal"
    assert pose_reason(Pose(89, 179), PoseConfig()) == ""
