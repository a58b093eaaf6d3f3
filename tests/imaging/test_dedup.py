"""Duplicates against labelled real pairs and planted changes; the keeper against every order."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from imaging.alike import difference
from imaging.cut import cut, face_square
from imaging.decode import decode
from imaging.dedup import (
    DedupConfig,
    Looks,
    all_candidates,
    contents_of,
    copies_of,
    find_keepers,
    groups_of,
    pairs_of,
    ranks,
    same_pictures,
    star_keepers,
)
from imaging.detect import Box, DetectConfig, detect_faces
from imaging.encode import Codec, encode
from imaging.hash import SIDE, fingerprint

SAME_PHOTOGRAPHS = [  # by eye: the same picture at another size or with other edges
    ("scene_maksssksksss146", "scene_maksssksksss219"),
    ("scene_maksssksksss293", "scene_maksssksksss466"),
    ("scene_maksssksksss623", "scene_maksssksksss795"),
]


def looks_of(images: list[np.ndarray]) -> tuple[Looks, np.ndarray]:
    found = [fingerprint(image) for image in images]
    long = np.frombuffer(b"".join(one.hash256.to_bytes(32, "big") for one in found), ">u8").astype(np.uint64)
    hashes = np.array([one.hash for one in found], dtype=np.uint64)
    return Looks(hashes, long.reshape(-1, 4)), np.stack([one.thumb for one in found])


def groups(images: list[np.ndarray], **config: Any) -> np.ndarray:
    """The smallest row of each one's group; earlier rows are preferred."""
    looks, thumbs = looks_of(images)
    return groups_of(find_keepers(looks, thumbs, np.arange(len(images)), DedupConfig(**config)))


def portraits(realdata: Path, step: int) -> list[np.ndarray]:
    return [decode(path.read_bytes()).image for path in sorted((realdata / "real_photos").glob("aaf_*"))[::step]]


def test_labelled_pairs_duplicates_stay_together_and_others_apart(realdata: Path) -> None:
    with (realdata / "near_dups/pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("dup", "not_dup")]
    names = sorted({row[side] for row in rows for side in "ab"})
    images = [decode((realdata / "near_dups" / name).read_bytes()).image for name in names]
    group = dict(zip(names, groups(images).tolist(), strict=True))
    merged = {
        label: [group[r["a"]] == group[r["b"]] for r in rows if r["label"] == label] for label in ("dup", "not_dup")
    }
    assert (len(merged["dup"]), len(merged["not_dup"])) == (328, 122)
    assert sum(merged["dup"]) == 325  # pHash at 8 bits alone: 328; lost are strong tone edits and text laid over
    assert sum(merged["not_dup"]) == 0  # pHash at 8 bits alone: 47


def london(realdata: Path) -> list[np.ndarray]:
    """Twelve people, neutral and smiling in turn: one sitting each, but never the same photograph."""
    paths = sorted((realdata / "real_photos").glob("london_*"))
    assert [path.stem.split("_")[2] for path in paths] == ["neutral", "smiling"] * 12
    return [decode(path.read_bytes()).image for path in paths]


def test_a_smile_makes_another_picture(realdata: Path) -> None:
    images = london(realdata)
    np.testing.assert_array_equal(groups(images), np.arange(24))
    thumbs = looks_of(images)[1]
    assert difference(thumbs[::2], thumbs[1::2]).min() > 0.23  # even where the hashes are too far apart to be looked at


def test_a_smile_makes_another_face(realdata: Path) -> None:
    faces = []
    for image in london(realdata):
        for box, *_ in detect_faces(image, DetectConfig(max_side=640, min_size=30)):
            square = face_square(box, image.shape[:2])
            assert square is not None
            faces.append(cut(image, square))
    assert len(faces) >= 24
    np.testing.assert_array_equal(groups(faces), np.arange(len(faces)))


def test_among_real_photographs_only_the_same_photograph_is_merged(realdata: Path) -> None:
    paths = sorted((realdata / "real_photos").glob("*.jpg"))
    found = groups([decode(path.read_bytes()).image for path in paths]).tolist()
    merged = [(paths[group].stem, paths[row].stem) for row, group in enumerate(found) if group != row]
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
        ("cropped 2 %", 0.98),
        ("cropped 3 %", 0.9),
        ("cropped 4 %", 0.5),
    ],
)
def test_a_planted_change_is_found(realdata: Path, change: str, least: float) -> None:
    images = portraits(realdata, 6)
    num_rows = len(images)
    found = groups(images + [changed(image, change) for image in images])
    assert (found[:num_rows] == np.arange(num_rows)).all()
    assert (found[num_rows:] == np.arange(num_rows)).mean() >= least


@pytest.mark.parametrize(("change", "least"), [("cropped 2 %", 1), ("cropped 3 %", 0.97), ("cropped 4 %", 0.8)])
def test_more_crops_are_found_where_more_bits_are_allowed(realdata: Path, change: str, least: float) -> None:
    images = portraits(realdata, 6)
    num_rows = len(images)
    found = groups(images + [changed(image, change) for image in images], threshold=12, threshold256=80)
    assert (found[:num_rows] == np.arange(num_rows)).all()
    assert (found[num_rows:] == np.arange(num_rows)).mean() >= least


WIDE = {"threshold": 12, "threshold256": 80}


@pytest.mark.parametrize(("jitter", "least", "config"), [(0.02, 1, {}), (0.04, 0.9, {}), (0.04, 0.95, WIDE)])
def test_a_face_box_that_jitters_between_copies_is_found(
    realdata: Path, jitter: float, least: float, config: dict[str, Any]
) -> None:
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
    found = groups(faces + again, **config)
    assert len(faces) > 38
    assert (found[len(faces) :] == np.arange(len(faces))).mean() >= least


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
    others = np.stack([white, black, a[0]])
    assert same_pictures(np.stack([white] * 3), others, np.zeros(3, np.int64)).tolist() == [True, False, False]
    faint = 245 + a[:1] // 26
    assert np.isinf(difference(faint, np.roll(faint, 1, axis=2)))  # too bright to be compared
    assert difference(a[:0], b[:0]).shape == (0,)


def test_what_two_hashes_vouch_for_may_differ_more_in_one_place() -> None:
    draw = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE), np.uint8)
    a = cv2.GaussianBlur(draw[0], (0, 0), 2)[None]
    b = a.copy()
    b[:, 20:24, 20:24] += 9
    apart = difference(a, b)[0]
    assert 0.215 < apart < 0.6
    found = [same_pictures(a, b, np.array([bits]))[0] for bits in (0, 14, 15, 60)]
    assert found == [True, True, False, False]
    assert not same_pictures(a, b, np.array([0]), DedupConfig(max_difference=0))[0]
    assert not same_pictures(a, b, np.array([60]), DedupConfig(max_difference=float(apart) * 0.99))[0]
    assert same_pictures(a, b, np.array([60]), DedupConfig(max_difference=float(apart) * 1.01))[0]


def test_keepers_do_not_depend_on_the_order_of_rows(realdata: Path) -> None:
    images = portraits(realdata, 12)
    looks, thumbs = looks_of(images + [changed(image, "cropped 2 %") for image in images[::2]] + images[::3])
    places = np.random.default_rng(9).permutation(len(thumbs))
    for config in (DedupConfig(), DedupConfig(also=("mirror",))):
        plain = find_keepers(looks, thumbs, places, config)
        assert (plain != np.arange(len(plain))).sum() > 20
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(len(places))
            shuffled = find_keepers(looks.of(order), thumbs[order], places[order], config)
            np.testing.assert_array_equal(order[shuffled], plain[order])


def one_by_one(places: np.ndarray, matches: np.ndarray) -> list[int]:
    """The rule as it is stated: best first, each free row becomes a keeper and takes all free rows that match it."""
    keeper = [-1] * len(places)
    for row in np.argsort(places).tolist():
        if keeper[row] < 0:
            keeper[row] = row
            for other in range(len(places)):
                if keeper[other] < 0 and matches[row, other]:
                    keeper[other] = row
    return keeper


def test_stars_are_those_of_the_rule_row_by_row_and_no_pair_is_looked_at_twice() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        num_rows = int(random.integers(1, 40))
        matches = np.triu(random.random((num_rows, num_rows)) < random.choice([0.05, 0.2, 0.6]), 1)
        pairs = np.argwhere(matches | np.triu(random.random((num_rows, num_rows)) < 0.2, 1))
        matches, places = matches | matches.T, random.permutation(num_rows)
        asked = list[int]()

        def match(some: np.ndarray, matches: np.ndarray = matches, asked: list[int] = asked) -> np.ndarray:
            asked.extend((np.sort(some, axis=1) @ [100, 1]).tolist())
            return np.asarray(matches[some[:, 0], some[:, 1]])

        assert star_keepers(places, pairs, match).tolist() == one_by_one(places, matches)
        assert len(asked) == len(set(asked))


def test_a_chain_is_not_a_group() -> None:
    chain = np.array([[row, row + 1] for row in range(6)])
    always = star_keepers(np.arange(7), chain, lambda pairs: np.ones(len(pairs), dtype=bool))
    assert always.tolist() == [0, 0, 2, 2, 4, 4, 6]  # A and C are not alike: B goes to A, C stays
    assert groups_of(np.array([1, 1, 2, 1])).tolist() == [0, 0, 2, 0]


def test_rows_are_preferred_by_the_first_number_that_differs_and_then_by_their_order() -> None:
    assert ranks([1, 2, 2, 2, 1], [5, 5, 7, 7, 5]).tolist() == [3, 2, 0, 1, 4]
    assert ranks([]).tolist() == []


def test_rows_alone_keep_themselves() -> None:
    none = Looks(np.zeros(0, np.uint64), np.zeros((0, 4), np.uint64))
    for also in ((), ("mirror", "rotate")):
        config = DedupConfig(also=also)
        assert find_keepers(none, np.zeros((0, SIDE, SIDE), np.uint8), np.arange(0), config).tolist() == []


def test_a_thousand_copies_are_one_group_without_a_million_comparisons(realdata: Path) -> None:
    looks, thumbs = looks_of(portraits(realdata, 200))
    many = np.repeat(np.arange(len(thumbs)), 2000)
    keepers = find_keepers(looks.of(many), thumbs[many], np.arange(len(many)))
    assert np.unique(keepers).tolist() == [row * 2000 for row in range(len(thumbs))]
    assert len(np.unique(copies_of(contents_of(looks.of(many), thumbs[many]), np.arange(len(many))))) == len(thumbs)


def test_no_largest_difference_leaves_the_decision_to_the_hashes() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    hashes, longer = np.array([0, 3, 2**40 - 1], dtype=np.uint64), np.zeros((3, 4), np.uint64)
    longer[1, 0] = 15

    def found(**config: Any) -> list[int]:
        keepers = find_keepers(Looks(hashes, longer), thumbs, np.arange(3), DedupConfig(**config))
        return [int(keeper) for keeper in keepers]

    assert found(threshold=2) == [0, 1, 2]
    assert found(threshold=2, max_difference=None) == [0, 0, 2]
    assert found(threshold=2, max_difference=None, threshold256=3) == [0, 1, 2]
    assert found(threshold="98%", max_difference=None) == [0, 1, 2]


def test_candidates_of_new_rows_complete_those_of_the_others(realdata: Path) -> None:
    images = portraits(realdata, 6)
    looks, thumbs = looks_of(images + [changed(image, "cropped 2 %")[:, ::-1] for image in images])
    new = np.random.default_rng(0).random(len(thumbs)) < 0.3
    config = DedupConfig(threshold=18, threshold256=128, also=("mirror",))
    whole, added = (all_candidates(looks, config, rows, thumbs) for rows in (None, new))
    old = all_candidates(looks.of(~new), config, None, thumbs[~new])
    assert len(pairs_of(whole)) > 100
    for turn, pairs in whole.items():
        both = np.concatenate([np.flatnonzero(~new)[old[turn]], added[turn]])
        np.testing.assert_array_equal(both[np.lexsort(both.T[::-1])], pairs)


def merged_if(realdata: Path, label: str, **config: Any) -> list[bool]:
    """Which of the pairs with this label are merged, among themselves."""
    with (realdata / "near_dups/pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == label]
    names = sorted({row[side] for row in rows for side in "ab"})
    found = groups([decode((realdata / "near_dups" / name).read_bytes()).image for name in names], **config)
    return [bool(found[names.index(row["a"])] == found[names.index(row["b"])]) for row in rows]


def test_mirrored_and_turned_copies_are_merged_where_that_is_asked_for(realdata: Path) -> None:
    assert merged_if(realdata, "dup_if_mirror_aware") == [False, False]
    assert merged_if(realdata, "dup_if_mirror_aware", also=("mirror",)) == [True, True]
    # One of the three is turned by a few degrees, not by a quarter.
    assert merged_if(realdata, "dup_if_rotation_aware", also=("rotate",)) == [False, True, True]


@pytest.mark.parametrize("also", [("mirror",), ("rotate",), ("mirror", "rotate")])
def test_every_planted_turn_is_found_and_no_other_portrait(realdata: Path, also: tuple[str, ...]) -> None:
    images = portraits(realdata, 9)
    turns = [np.rot90(image, quarter) for image in images for quarter in (range(1, 4) if "rotate" in also else (0,))]
    if "mirror" in also:
        turns = [turn[:, ::-1] for turn in turns]
    copies = [np.ascontiguousarray(turn) for turn in turns]
    found = groups(images + copies, also=also)
    each = len(copies) // len(images)
    np.testing.assert_array_equal(found, [*range(len(images)), *np.repeat(range(len(images)), each)])


def test_crops_are_found_where_that_is_asked_for(realdata: Path) -> None:
    images, random = portraits(realdata, 16), np.random.default_rng(0)
    for kept, least in ((0.9, 0.9), (0.8, 0.7), (0.7, 0.5)):
        crops = []
        for image in images:
            height, width = (int(kept * side) for side in image.shape[:2])
            y, x = (
                int(random.integers(0, 1 + full - part))
                for full, part in zip(image.shape, (height, width), strict=False)
            )
            crops.append(np.ascontiguousarray(image[y : y + height, x : x + width]))
        found = groups(images + crops, also=("crop",))
        np.testing.assert_array_equal(found[: len(images)], np.arange(len(images)))
        assert (found[len(images) :] == np.arange(len(images))).mean() >= least
    assert sum(merged_if(realdata, "dup_if_crop_aware", also=("crop",))) >= 5


def test_faces_have_a_limit_of_their_own_and_the_smaller_one_counts() -> None:
    assert DedupConfig().for_faces().max_difference == 0.18
    assert DedupConfig(max_difference=0).for_faces().max_difference == 0
    assert DedupConfig(max_difference=None).for_faces().max_difference is None


def test_a_faint_smile_in_a_wide_cut_makes_another_face(realdata: Path) -> None:
    boxes = {"neutral": Box(127, 118, 551, 542), "smiling": Box(133, 133, 539, 539)}  # of YuNet, with a margin
    faces = []
    for name, box in boxes.items():
        image = decode((realdata / "real_photos" / f"london_138_{name}.jpg").read_bytes()).image
        faces.append(fingerprint(cut(image, box)))
    thumbs = np.stack([face.thumb for face in faces])
    apart = float(difference(thumbs[:1], thumbs[1:])[0])
    assert apart == pytest.approx(0.19, abs=0.01)
    assert (DedupConfig().for_faces().max_difference or 0) < apart
