"""The drawn faces: reproducible, seen by a real detector, and unlike one another."""

from __future__ import annotations

import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imaging.toon import ToonConfig, ToonFace, ToonPicture, draw_picture
from imaging.toon.traits import BEARDS, HAIR_COLOURS, HAIR_STYLES, MOUTHS, SKINS, draw_traits

SEED = 20
WHOLE = ToonConfig(pictures=70, fault_rate=0)


class Seen(NamedTuple):
    truth: ToonFace
    box: tuple[int, int, int, int] | None
    iou: float
    crop: np.ndarray


class Survey(NamedTuple):
    faces: list[Seen]
    num_boxes: int
    sizes: list[tuple[int, int]]


def decoded(picture: ToonPicture) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(picture.data)).convert("RGB"))


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def square_crop(image: np.ndarray, box: tuple[int, ...]) -> np.ndarray:
    half = round(0.75 * (box[2] - box[0]))
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    x, y = (min(max(v, half), side - half) for v, side in ((x, image.shape[1]), (y, image.shape[0])))
    return cv2.resize(image[y - half : y + half, x - half : x + half], (64, 64), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def survey() -> Survey:
    """What OpenCV's frontal cascade finds on whole pictures, with the usual parameters."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    faces, sizes, num_boxes = [], [], 0
    for index in range(WHOLE.pictures):
        picture = draw_picture(SEED, index, WHOLE)
        image = decoded(picture)
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        found = [(x, y, x + w, y + h) for x, y, w, h in cascade.detectMultiScale(grey, 1.1, 5, minSize=(50, 50))]
        num_boxes += len(found)
        for face in picture.truth.faces:
            best = max(found, key=lambda box, face=face: overlap(box, face.box), default=(0, 0, 1, 1))
            iou = overlap(best, face.box)
            faces.append(Seen(face, best if iou >= 0.4 else None, iou, square_crop(image, face.box)))
            sizes.append(image.shape[1::-1])
    return Survey(faces, num_boxes, sizes)


def test_the_cascade_sees_the_faces(survey: Survey) -> None:
    recall = np.mean([face.box is not None for face in survey.faces])
    assert len(survey.faces) > 90
    assert recall >= 0.95


def test_the_cascade_sees_little_else(survey: Survey) -> None:
    num_right = len({(i, face.box) for i, face in enumerate(survey.faces) if face.box is not None})
    assert (survey.num_boxes - num_right) / survey.num_boxes <= 0.03


def test_truth_boxes_are_the_squares_that_the_cascade_answers(survey: Survey) -> None:
    seen = [face for face in survey.faces if face.box is not None]
    ratio = [(face.box[2] - face.box[0]) / (face.truth.box[2] - face.truth.box[0]) for face in seen]
    assert np.mean([face.iou for face in seen]) > 0.8
    assert np.mean(ratio) == pytest.approx(1, abs=0.03)


def test_faces_have_the_asked_size_and_room_for_a_crop(survey: Survey) -> None:
    for face, (width, height) in zip(survey.faces, survey.sizes, strict=True):
        x0, y0, x1, y1 = face.truth.box
        assert x1 - x0 == y1 - y0
        assert WHOLE.min_face - 1 <= x1 - x0 <= WHOLE.max_face + 1
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert 1.6 * (x1 - x0) <= min(width, height)
        assert WHOLE.min_side <= min(width, height) <= max(width, height) <= WHOLE.max_side


def test_people_are_varied() -> None:
    people = [draw_traits(np.random.default_rng([SEED, i])) for i in range(300)]
    assert {person.skin_name for person in people} == set(SKINS)
    assert {person.hair_style for person in people} == set(HAIR_STYLES)
    assert {person.hair_name for person in people} == set(HAIR_COLOURS)
    assert {person.mouth for person in people} == set(MOUTHS)
    assert {person.beard for person in people} == set(BEARDS)
    assert {person.glasses for person in people} == {"none", "round", "square"}


def test_heads_are_turned(survey: Survey) -> None:
    truths = [face.truth for face in survey.faces]
    assert np.ptp([face.yaw for face in truths]) > 15
    assert np.ptp([face.roll for face in truths]) > 10


def test_different_people_are_rarely_near_by_perceptual_hash(survey: Survey) -> None:
    hashes = [imagehash.phash(Image.fromarray(face.crop)) for face in survey.faces]
    apart = np.array([a - b for i, a in enumerate(hashes) for b in hashes[:i]])
    assert np.median(apart) >= 20
    assert np.mean(apart <= 8) < 0.004


def test_a_picture_is_the_same_in_any_order_and_process() -> None:
    config = ToonConfig(pictures=40, fault_rate=0.6)
    here = [draw_picture(SEED, index, config) for index in range(24)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        there = list(pool.map(partial(draw_picture, SEED, config=config), reversed(range(24))))
    assert there[::-1] == here


def test_seed_and_index_both_change_the_picture() -> None:
    first = draw_picture(1, 0, WHOLE)
    assert draw_picture(2, 0, WHOLE).data != first.data
    assert draw_picture(1, 1, WHOLE).data != first.data


@pytest.mark.parametrize("index", [-1, 70])
def test_an_index_outside_the_pictures_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=r"choose 0 to 69"):
        draw_picture(SEED, index, WHOLE)


@pytest.mark.parametrize("wrong", [{"picture": 3}, {"min_side": 800, "max_side": 700}, {"fault_rate": 1.5}])
def test_a_wrong_config_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ToonConfig(**wrong)
