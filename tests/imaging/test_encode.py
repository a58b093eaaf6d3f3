"""Codecs: what comes back, how many bytes it takes, and that they are always the same ones."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imaging.decode import decode
from imaging.encode import Codec, encode
from imaging.resample import FILTERS, resample

LOSSLESS = [Codec(format="png"), Codec(format="webp")]
ALL = [*LOSSLESS, *(Codec(format="jpg", quality=q, chroma=c) for q, c in itertools.product((75, 95), ("444", "420")))]


def named(codec: Codec) -> str:
    return f"{codec.format}-{codec.quality}-{codec.chroma}"


@pytest.fixture(scope="module")
def faces(realdata: Path) -> list[np.ndarray]:
    photos = sorted((realdata / "real_photos").glob("london_*"))[:4]
    drawings = sorted((realdata / "anime_illustrations").rglob("ftla_*"))[:4]
    images = [decode(path.read_bytes()).image for path in (*photos, *drawings)]
    return [resample(image[: min(image.shape[:2]), : min(image.shape[:2])], 256) for image in images]


def pillow(image: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("codec", LOSSLESS, ids=named)
def test_lossless_codecs_give_every_value_back(faces: list[np.ndarray], codec: Codec) -> None:
    odd = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    for image in (*faces, odd, np.zeros((1, 1, 3), np.uint8), faces[0][::2, ::-1]):
        np.testing.assert_array_equal(decode(encode(image, codec)).image, image)


@pytest.mark.parametrize("chroma", ["444", "420"])
def test_a_jpeg_is_what_libjpeg_makes_of_the_quality_and_the_chroma(faces: list[np.ndarray], chroma: str) -> None:
    for image in faces:
        ours = decode(encode(image, Codec(format="jpg", quality=90, chroma=chroma))).image
        theirs = pillow(image, format="JPEG", quality=90, subsampling={"444": 0, "420": 2}[chroma])
        assert np.abs(ours.astype(int) - decode(theirs).image).mean() < 0.1


def test_a_png_is_hardly_larger_than_one_that_took_seven_times_as_long(faces: list[np.ndarray]) -> None:
    ours = sum(len(encode(image, Codec())) for image in faces)
    theirs = sum(len(pillow(image, format="PNG", compress_level=6)) for image in faces)
    assert ours < 1.08 * theirs  # measured: 0.4 % on 40 snapshots, 2 % on 40 drawings, 6 % on these


def test_a_jpeg_takes_less_than_half_of_a_png(faces: list[np.ndarray]) -> None:
    jpeg, png = (sum(len(encode(image, codec)) for image in faces) for codec in (Codec(format="jpg"), Codec()))
    assert jpeg < 0.5 * png


@pytest.mark.parametrize("codec", ALL, ids=named)
def test_the_same_image_gives_the_same_bytes_without_metadata(faces: list[np.ndarray], codec: Codec) -> None:
    for image in faces[::3]:
        data = encode(image, codec)
        assert data == encode(image.copy(), codec)
        with Image.open(io.BytesIO(data)) as opened:
            assert not opened.getexif()
            assert "icc_profile" not in opened.info


PINNED = ["76088a1b4d6c", "193206a88338", "97870d6e56a2", "516098e16342", "1bed9a236cd1", "3d6f06dbd3d8"]


def test_the_bytes_are_those_of_the_day_they_were_pinned() -> None:
    # With the versions of requirements.txt; other ones may give others, and a lock names the versions.
    image = np.add.outer(np.arange(32) * 7, np.arange(32) * 3)[..., None] + np.array([0, 40, 90])
    digests = [hashlib.sha256(encode(image.astype(np.uint8), codec)).hexdigest()[:12] for codec in ALL]
    assert digests == PINNED


@pytest.mark.parametrize("filter", sorted(FILTERS))
def test_filters_keep_flat_colours_and_meet_the_size(filter: str) -> None:
    for side, size in ((300, 128), (128, 128), (50, 64), (3, 8)):
        found = resample(np.full((side, side, 3), (250, 7, 130), np.uint8), size, filter)  # type: ignore[arg-type]
        assert found.shape == (size, size, 3)
        assert found.flags["C_CONTIGUOUS"]
        assert (found == (250, 7, 130)).all()


@pytest.mark.parametrize(("side", "size"), [(512, 256), (700, 128), (300, 256), (100, 256), (178, 128), (33, 64)])
def test_lanczos_is_pillows(faces: list[np.ndarray], side: int, size: int) -> None:
    for image in faces:
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        ours = resample(image, size)
        theirs = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))
        assert np.abs(ours.astype(int) - theirs).max() <= 2
        assert (ours != theirs).mean() < 0.02


def test_area_is_the_mean_over_each_square(faces: list[np.ndarray]) -> None:
    expected = faces[0].reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(resample(faces[0], 64, "area") - expected).max() <= 0.51


def test_shrinking_is_antialiased() -> None:
    fine = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for filter in FILTERS:
        small = resample(np.repeat(fine[..., None], 3, axis=2), 60, filter)
        assert np.abs(small.astype(int) - 127.5).max() < 5


def test_an_unknown_format_or_quality_is_refused() -> None:
    for odd in ({"format": "gif"}, {"quality": 0}, {"quality": 101}, {"chroma": "422"}):
        with pytest.raises(ValidationError):
            Codec.model_validate(odd)
