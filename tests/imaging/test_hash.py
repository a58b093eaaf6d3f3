"""Hashes equal to imagehash's bit for bit, and those of a halved picture near them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from imaging.decode import decode
from imaging.hash import HashKind, distance_bits, exact_hashes, fingerprint, halved, perceptual_hash, thumbnail

KINDS: list[HashKind] = ["phash", "dhash", "whash"]


def pictures(realdata: Path, step: int) -> list[np.ndarray]:
    paths = sorted((realdata / "real_photos").rglob("*.jpg")) + sorted((realdata / "near_dups/files").iterdir())
    return [decode(path.read_bytes()).image for path in paths[::step]]


def odd_pictures() -> Iterator[np.ndarray]:
    """Noise, flat, black and white, ramps, of all shapes: where bits hang on ties and on rounding."""
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width = random.integers(1, 90, 2)
        yield random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        yield np.full((height, width, 3), random.integers(0, 256), np.uint8)
        yield np.repeat(random.integers(0, 2, (height, width, 1), dtype=np.uint8) * 255, 3, axis=2)
        yield np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))


def theirs(image: np.ndarray, kind: HashKind) -> list[str]:
    return [str(getattr(imagehash, kind)(Image.fromarray(image), hash_size=side)) for side in (8, 16)]


def ours(image: np.ndarray, kind: HashKind) -> list[str]:
    short, long = exact_hashes(image, kind)
    return [f"{short:016x}", f"{long:064x}"]


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_of_real_pictures_are_those_of_imagehash(realdata: Path, kind: HashKind) -> None:
    images = pictures(realdata, 25)
    assert len(images) > 70
    for image in images:
        assert ours(image, kind) == theirs(image, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_of_odd_pictures_are_those_of_imagehash(kind: HashKind) -> None:
    for image in odd_pictures():
        assert ours(image, kind) == theirs(image, kind)


def test_distances_of_the_labelled_pairs_are_those_of_their_table(realdata: Path) -> None:
    rows = (realdata / "near_dups/pairs.csv").read_text(encoding="utf-8").splitlines()[1::12]
    for a, b, *_, stated in (row.split(",") for row in rows if '"' not in row):
        hashes = [perceptual_hash(decode((realdata / "near_dups" / name).read_bytes()).image) for name in (a, b)]
        assert (hashes[0] ^ hashes[1]).bit_count() == int(stated)


def test_a_picture_is_halved_as_long_as_96_px_are_left() -> None:
    for size, small in (((100, 300), (100, 300)), ((191, 999), (191, 999)), ((192, 301), (96, 150))):
        assert halved(np.zeros((*size, 3), np.uint8)).shape[:2] == small
    image = np.random.default_rng(0).integers(0, 256, (383, 258, 3), dtype=np.uint8)
    means = image[:382].reshape(191, 2, 129, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(halved(image), means, atol=0.51)


def test_a_fingerprint_is_that_of_the_halved_picture_and_near_the_whole_ones(realdata: Path) -> None:
    far, far256 = [], []
    for image in pictures(realdata, 20):
        found = fingerprint(image)
        assert (found.hash, found.hash256) == exact_hashes(halved(image))
        np.testing.assert_array_equal(found.thumb, thumbnail(halved(image)))
        exact = exact_hashes(image)
        far.append((found.hash ^ exact[0]).bit_count())
        far256.append((found.hash256 ^ exact[1]).bit_count())
    assert np.quantile(far, 0.95) <= 2
    assert np.quantile(far256, 0.95) <= 8


def test_thresholds_are_bits_or_a_similarity() -> None:
    cases: dict[int | str, int] = {4: 4, 0: 0, "100%": 0, "99%": 0, "98.4%": 1, "95%": 3, "90%": 6, "0%": 64}
    assert {asked: distance_bits(asked) for asked in cases} == cases
    for wrong in ("99", 65, -1, "101%", "-1%"):
        with pytest.raises(ValueError, match=r"bits|similarity"):
            distance_bits(wrong)
