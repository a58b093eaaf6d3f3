"""Duplicates against labelled real pairs and planted changes; the keeper against every order."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from imaging.cut import cut, face_square
from imaging.decode import decode
from imaging.dedup import (
    SIDE,
    DedupConfig,
    choose_keeper,
    difference,
    group_duplicates,
    keepers,
    same_picture,
    thumbnail,
)
from imaging.detect import Box, DetectConfig, detect_faces
from imaging.encode import Codec, encode
from imaging.hash import perceptual_hash

SAME_PHOTOGRAPHS = [  # by eye: the same picture at another size or with other edges
    ("scene_maksssksksss146", "scene_maksssksksss219"),
    ("scene_maksssksksss293", "scene_maksssksksss466"),
    ("scene_maksssksksss623", "scene_maksssksksss795"),
]


def fingerprint(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    hashes = np.array([perceptual_hash(image) for image in images], dtype=np.uint64)
    return hashes, np.stack([thumbnail(image) for image in images])


def portraits(realdata: Path, step: int) -> list[np.ndarray]:
    return [decode(path.read_bytes()).image for path in sorted((realdata / "real_photos").glob("aaf_*"))[::step]]


def test_labelled_pairs_duplicates_stay_together_and_others_apart(realdata: Path) -> None:
    with (realdata / "near_dups/pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("dup", "not_dup")]
    names = sorted({row[side] for row in rows for side in "ab"})
    images = [decode((realdata / "near_dups" / name).read_bytes()).image for name in names]
    group = dict(zip(names, group_duplicates(*fingerprint(images)).tolist(), strict=True))
    merged = {
        label: [group[r["a"]] == group[r["b"]] for r in rows if r["label"] == label] for label in ("dup", "not_dup")
    }
    assert (len(merged["dup"]), len(merged["not_dup"])) == (328, 122)
    assert sum(merged["dup"]) == 321  # pHash at 8 bits alone: 328; lost are strong tone edits and text laid over
    assert sum(merged["not_dup"]) == 0  # pHash at 8 bits alone: 47


def london(realdata: Path) -> list[np.ndarray]:
    """Twelve people, neutral and smiling in turn: one sitting each, but never the same photograph."""
    paths = sorted((realdata / "real_photos").glob("london_*"))
    assert [path.stem.split("_")[2] for path in paths] == ["neutral", "smiling"] * 12
    return [decode(path.read_bytes()).image for path in paths]


def test_a_smile_makes_another_picture(realdata: Path) -> None:
    hashes, thumbs = fingerprint(london(realdata))
    np.testing.assert_array_equal(group_duplicates(hashes, thumbs), np.arange(24))
    assert difference(thumbs[::2], thumbs[1::2]).min() > 0.23  # even where the hashes are too far apart to be looked at


def test_a_smile_makes_another_face(realdata: Path) -> None:
    faces = []
    for image in london(realdata):
        for box, *_ in detect_faces(image, DetectConfig(max_side=640, min_size=30)):
            square = face_square(box, image.shape[:2])
            assert square is not None
            faces.append(cut(image, square))
    assert len(faces) >= 24
    np.testing.assert_array_equal(group_duplicates(*fingerprint(faces)), np.arange(len(faces)))


def test_among_real_photographs_only_the_same_photograph_is_merged(realdata: Path) -> None:
    paths = sorted((realdata / "real_photos").glob("*.jpg"))
    groups = group_duplicates(*fingerprint([decode(path.read_bytes()).image for path in paths]))
    merged = [(paths[group].stem, paths[row].stem) for row, group in enumerate(groups.tolist()) if group != row]
    assert merged == SAME_PHOTOGRAPHS


def changed(image: np.ndarray, change: str) -> np.ndarray:
    height, width = image.shape[:2]
    if change == "re-encoded":
        return decode(encode(image, Codec(format="jpg", quality=60))).image
    if change == "half the size":
        return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    if change.startswith("cropped"):
        y, x = (round(int(change.split()[1]) / 100 * side) for side in (height, width))
        return np.ascontiguousarray(image[y:, x:])  # the worst case: all of it from one corner
    return (image * {"darker": 0.8, "brighter": 1.2}[change]).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        ("re-encoded", 1),
        ("half the size", 1),
        ("darker", 1),
        ("brighter", 0.97),  # where highlights are cut off, a few differ
        ("cropped 2 %", 1),
        ("cropped 3 %", 0.97),
        ("cropped 4 %", 0.8),
    ],
)
def test_a_planted_change_is_found(realdata: Path, change: str, least: float) -> None:
    images = portraits(realdata, 6)
    num_rows = len(images)
    groups = group_duplicates(*fingerprint(images + [changed(image, change) for image in images]))
    assert (groups[:num_rows] == np.arange(num_rows)).all()
    assert (groups[num_rows:] == np.arange(num_rows)).mean() >= least


@pytest.mark.parametrize(("jitter", "least"), [(0.02, 1), (0.04, 0.95)])
def test_a_face_box_that_jitters_between_copies_is_found(realdata: Path, jitter: float, least: float) -> None:
    random, faces, again = np.random.default_rng(0), [], []
    for image in portraits(realdata, 10):
        for box, *_ in detect_faces(image, DetectConfig(max_side=320))[:1]:
            move = random.uniform(-jitter, jitter, 3) * (box.x1 - box.x0)
            x0, y0 = box.x0 + round(move[0]), box.y0 + round(move[1])
            side = box.x1 - box.x0 + round(move[2])
            square, other = (face_square(b, image.shape[:2]) for b in (box, Box(x0, y0, x0 + side, y0 + side)))
            assert square is not None
            assert other is not None
            faces.append(cut(image, square, 128))
            again.append(changed(cut(image, other, 96), "re-encoded"))
    groups = group_duplicates(*fingerprint(faces + again))
    assert len(faces) > 38
    assert (groups[len(faces) :] == np.arange(len(faces))).mean() >= least


def test_difference_is_symmetric_and_flat_thumbnails_are_like_their_equals_only() -> None:
    random = np.random.default_rng(0)
    a, b = (
        np.stack([cv2.GaussianBlur(t, (0, 0), 2) for t in random.integers(0, 256, (300, SIDE, SIDE), np.uint8)])
        for _ in "ab"
    )
    np.testing.assert_array_equal(difference(a, b), np.inf)
    np.testing.assert_array_equal(difference(a, a), 0)
    near = np.roll(a, 1, axis=2)
    near[:, 20:24, 20:24] += 9
    assert np.isfinite(difference(a, near)).all()
    np.testing.assert_array_equal(difference(a, near), difference(near, a))
    white, black = np.full((SIDE, SIDE), 255, np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    assert same_picture(white, white)
    assert not same_picture(white, black)
    assert not same_picture(white, a[0])
    faint = 245 + a[:1] // 26
    assert np.isinf(difference(faint, np.roll(faint, 1, axis=2)))  # too bright to be compared
    assert difference(a[:0], b[:0]).shape == (0,)


def test_groups_do_not_depend_on_the_order_of_rows(realdata: Path) -> None:
    images = portraits(realdata, 12)
    hashes, thumbs = fingerprint(images + [changed(image, "cropped 2 %") for image in images[::2]] + images[::3])
    plain = group_duplicates(hashes, thumbs)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(hashes))
        shuffled = group_duplicates(hashes[order], thumbs[order])
        same = shuffled[:, None] == shuffled[None]
        np.testing.assert_array_equal(same, plain[order][:, None] == plain[order][None])
        np.testing.assert_array_equal(shuffled[shuffled], shuffled)
        assert (shuffled <= np.arange(len(hashes))).all()


def test_the_keeper_is_the_largest_then_sharpest_then_smallest_id_in_any_order() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        members = [(float(area), float(sharp), f"{id_:03d}") for area, sharp, id_ in random.integers(0, 3, (6, 3))]
        members = [(area, sharp, f"{name}{row}") for row, (area, sharp, name) in enumerate(members)]
        best = sorted(members, key=lambda m: (-m[0], -m[1], m[2]))[0]
        order = random.permutation(len(members))
        areas, sharpness, ids = zip(*(members[row] for row in order), strict=True)
        assert members[order[choose_keeper(areas, sharpness, ids)]] == best
        assert (
            keepers(np.zeros(6, np.int64), areas, sharpness, ids).tolist() == [choose_keeper(areas, sharpness, ids)] * 6
        )


def test_rows_alone_keep_themselves() -> None:
    assert keepers(np.array([0, 1, 0, 3]), [1, 9, 2, 9], [0, 0, 0, 0], ["a", "b", "c", "d"]).tolist() == [2, 1, 2, 3]
    empty = group_duplicates(np.zeros(0, np.uint64), np.zeros((0, SIDE, SIDE), np.uint8))
    assert empty.tolist() == keepers(empty, [], [], []).tolist() == []


def test_a_thousand_copies_are_one_group_without_a_million_comparisons(realdata: Path) -> None:
    hashes, thumbs = fingerprint(portraits(realdata, 200))
    groups = group_duplicates(np.repeat(hashes, 2000), np.repeat(thumbs, 2000, axis=0))
    assert np.unique(groups).tolist() == [row * 2000 for row in range(len(hashes))]


def test_no_largest_difference_leaves_the_decision_to_the_hash() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    hashes = np.array([0, 3, 2**40 - 1], dtype=np.uint64)
    assert group_duplicates(hashes, thumbs, DedupConfig(threshold=2)).tolist() == [0, 1, 2]
    assert group_duplicates(hashes, thumbs, DedupConfig(threshold=2, max_difference=None)).tolist() == [0, 0, 2]
    assert group_duplicates(hashes, thumbs, DedupConfig(threshold="98%", max_difference=None)).tolist() == [0, 1, 2]
