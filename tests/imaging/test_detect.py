"""Faces found in real pictures, and the geometry of what is reported."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.decode import decode
from imaging.detect import DETECTORS, NEEDS, Box, DetectConfig, detect_faces, overlap


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_of(realdata: Path) -> dict[str, Path]:
    return {name: realdata / "assets" / name for name in {file for files in NEEDS.values() for file in files}}


def holds_features(box: Box, face: dict[str, str]) -> bool:
    points = [(float(face[f"{name}_x"]), float(face[f"{name}_y"])) for name in ("left_eye", "right_eye", "mouth")]
    return all(box.x0 <= x < box.x1 and box.y0 <= y < box.y1 for x, y in points)


@pytest.mark.parametrize(("max_side", "least"), [pytest.param(0, 57, marks=pytest.mark.slow), (320, 57)])
def test_haar_finds_the_eyes_and_mouth_of_nearly_every_real_portrait(realdata: Path, max_side: int, least: int) -> None:
    faces = [row for row in table(realdata / "real_photos/faces.csv") if row["file"].startswith("aaf_")][::7][:60]
    num_found = 0
    for face in faces:
        image = decode((realdata / "real_photos" / face["file"]).read_bytes()).image
        found = detect_faces(image, DetectConfig(max_side=max_side))
        num_found += any(holds_features(detection.box, face) for detection in found)
    assert num_found >= least  # measured 58 of 60 at full size and at 320 px


def test_haar_finds_no_face_in_most_pictures_without_one(realdata: Path) -> None:
    images = [decode(path.read_bytes()).image for path in sorted((realdata / "real_photos").glob("noface_*"))]
    assert len(images) == 15
    assert sum(bool(detect_faces(image, DetectConfig())) for image in images) <= 2


@pytest.mark.parametrize(("max_side", "least"), [pytest.param(0, 30, marks=pytest.mark.slow), (400, 30)])
def test_anime_cascade_finds_the_crops_that_an_author_checked_by_hand(
    realdata: Path, max_side: int, least: int
) -> None:
    folder, num_found = realdata / "anime_illustrations", 0
    rows = [row for row in table(folder / "faces.csv") if row["box_source"].startswith("upstream")]
    for row in rows:
        x, y, w, h = (int(float(row[key])) for key in "xywh")
        image = decode(next(folder.rglob(row["file"])).read_bytes()).image
        config = DetectConfig(detector="anime-lbp", max_side=max_side)
        found = detect_faces(image, config, files_of(realdata))
        num_found += any(overlap(detection.box, Box(x, y, x + w, y + h)) >= 0.5 for detection in found)
    assert len(rows) == 33
    assert num_found >= least  # 31, as with the cascade's own settings (30 in the pack's table)


@pytest.mark.parametrize("detector", sorted(set(DETECTORS) - {"onnx"}))
def test_every_detector_reports_ordered_boxes_inside_the_picture(realdata: Path, detector: str) -> None:
    config = DetectConfig(detector=detector, min_neighbours=1, max_side=300)
    paths = (
        sorted((realdata / "real_photos").glob("scene_*"))[:3] + sorted((realdata / "real_photos").glob("lfw_*"))[:2]
    )
    images = [decode(path.read_bytes()).image for path in paths]
    images += [np.full((height, width, 3), 90, np.uint8) for height, width in ((1, 1), (3, 200), (24, 24))]
    for image in images:
        found = detect_faces(image, config, files_of(realdata))
        boxes = [detection.box for detection in found]
        assert boxes == sorted(boxes, key=lambda box: (box.y0, box.x0))
        assert all(0 <= b.x0 < b.x1 <= image.shape[1] and 0 <= b.y0 < b.y1 <= image.shape[0] for b in boxes)
        assert all(np.isfinite(detection.confidence) for detection in found)
        assert all(overlap(a, b) <= config.max_overlap for a in boxes for b in boxes if a is not b)


def test_the_number_of_threads_changes_nothing(realdata: Path) -> None:
    images = [decode(path.read_bytes()).image for path in sorted((realdata / "real_photos").glob("scene_*"))[:6]]
    before, found = cv2.getNumThreads(), []
    try:
        for num_threads in (1, 4):
            cv2.setNumThreads(num_threads)
            found.append([detect_faces(image, DetectConfig(min_size=20)) for image in images])
    finally:
        cv2.setNumThreads(before)
    assert found[0] == found[1]
    assert any(found[0])


def test_centre_is_the_celeba_crop_and_none_the_whole_square() -> None:
    image = np.zeros((218, 178, 3), np.uint8)
    assert detect_faces(image, DetectConfig(detector="centre"))[0].box == (0, 20, 178, 198)
    assert detect_faces(image, DetectConfig(detector="centre", centre_size=100))[0].box == (39, 59, 139, 159)
    assert detect_faces(image, DetectConfig(detector="centre", centre_size=179)) == []
    assert detect_faces(image[:178], DetectConfig(detector="none"))[0].box == (0, 0, 178, 178)


def test_a_cascade_that_is_missing_or_no_cascade_is_named(tmp_path: Path) -> None:
    image, config = np.zeros((50, 50, 3), np.uint8), DetectConfig(detector="anime-lbp")
    with pytest.raises(FileNotFoundError, match=r"lbpcascade_animeface\.xml"):
        detect_faces(image, config)
    with pytest.raises(FileNotFoundError, match=r"absent\.xml"):
        detect_faces(image, config, {"lbpcascade_animeface.xml": tmp_path / "absent.xml"})
    (tmp_path / "bad.xml").write_text("<html>quota exceeded</html>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.xml is no OpenCV cascade"):
        detect_faces(image, config, {"lbpcascade_animeface.xml": tmp_path / "bad.xml"})


def test_overlap_is_intersection_over_union() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 10, 10), Box(10, 0, 20, 10)) == 0
