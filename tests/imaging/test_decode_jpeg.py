"""JPEGs by the short way: the pixels and the judgement are those of Pillow's reader; and what quality a file has."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from imaging.decode import REDUCTIONS, Undecodable, decode
from imaging.jpeg import MAX_SCANS, CodecWarning, jpeg_quality, plain_jpeg, read_plain, walk_jpeg
from tests.imaging.test_decode import saved, scene

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KINDS: dict[str, dict[str, object]] = {
    "baseline": {},
    "4:4:4": {"subsampling": 0, "quality": 97},
    "4:2:2": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "RGB": {"keep_rgb": True},
    "sRGB profile": {"icc_profile": PROFILE},
    "comment": {"comment": b"\xff\xd9 is no end here", "optimize": True},
}


def by_pillow(data: bytes, reduced: int = 1) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        if reduced > 1:
            picture.draft(None, (picture.width // reduced, picture.height // reduced))
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    return exif


def is_plain(data: bytes) -> bool:
    return plain_jpeg(data, walk_jpeg(data)) is not None


@pytest.mark.parametrize("reduced", REDUCTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_short_way_gives_pillows_pixels(kind: str, mode: str, reduced: int) -> None:
    data = saved(Image.fromarray(scene(290, 333)).convert(mode), "JPEG", **KINDS[kind])
    assert is_plain(data)
    np.testing.assert_array_equal(decode(data, reduced=reduced).image, by_pillow(data, reduced))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_short_way_turns_as_pillow_does(orientation: int) -> None:
    data = saved(Image.fromarray(scene(290, 333)), "JPEG", exif=exif_of(orientation))
    assert is_plain(data)
    assert decode(data).notes == (("exif_rotated",) if orientation > 1 else ())
    np.testing.assert_array_equal(decode(data).image, by_pillow(data))


def test_real_photographs_come_as_pillow_gives_them(realdata: Path) -> None:
    paths = [
        *sorted((realdata / "real_photos").rglob("*.jpg"))[::40],
        *sorted((realdata / "near_dups").rglob("*.jpg"))[::60],
    ]
    num_plain = 0
    for data in (path.read_bytes() for path in paths):
        num_plain += is_plain(data)
        for reduced in (1, 8):
            found = decode(data, reduced=reduced)
            if not {"icc_converted", "cmyk"} & set(found.notes):
                np.testing.assert_array_equal(found.image, by_pillow(data, found.reduced))
    assert num_plain > 0.9 * len(paths) > 10


@pytest.mark.parametrize(
    ("options", "segment"),
    [
        ({"exif": exif_of(6).tobytes().replace(b"\x01\x12\0\x03", b"\x01\x12\0\x04")}, b""),
        ({}, b"\xff\xe2\0\x0aMPF\0rest"),
        ({"xmp": b'<x tiff:Orientation="6"/>'}, b""),
        ({"exif": exif_of(1)}, b"\xff\xe1\0\x0aExif\0\0II"),
        ({"icc_profile": PROFILE * 200}, b""),
    ],
)
def test_what_is_not_plain_is_left_to_pillow(options: dict[str, object], segment: bytes) -> None:
    data = saved(Image.fromarray(scene()), "JPEG", **options)
    assert not is_plain(data[:2] + segment + data[2:])
    assert decode(data[:2] + segment + data[2:]).image.shape in ((60, 90, 3), (90, 60, 3))


def test_a_scan_that_ends_too_early_is_refused_in_colour() -> None:
    for options in ({}, {"progressive": True}, {"subsampling": 0}):
        data = saved(Image.fromarray(scene(200, 200)), "JPEG", quality=90, **options)
        for share in (0.5, 0.8, 0.97):
            with pytest.raises(Undecodable, match="premature end of data"):
                decode(data[: int(len(data) * share)].rstrip(b"\xff") + b"\xff\xd9")


def test_a_word_of_the_codec_that_costs_no_pixel_changes_none() -> None:
    data = saved(Image.fromarray(scene(200, 200)), "JPEG", quality=90)
    more = data[:-2] + b"\x11" * 9 + data[-2:]
    walk = walk_jpeg(more)
    plain = plain_jpeg(more, walk)
    assert plain
    with pytest.raises(CodecWarning, match="9 extraneous bytes"):
        read_plain(more, plain, 1)
    np.testing.assert_array_equal(decode(more).image, decode(data).image)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_another_profile_is_converted_as_pillow_does(mode: str, realdata: Path) -> None:
    real = realdata / "hostile/images/ljt__testorig_rgb_444_floatdct_q100_test3icc.jpg"
    with Image.open(real) as picture:
        profile = picture.info["icc_profile"]
    data = saved(Image.fromarray(scene()).convert(mode), "JPEG", icc_profile=profile)
    found = decode(data)
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(Image.fromarray(by_pillow(data)), source, target)
    assert is_plain(data)
    assert found.notes == (("grey_channel",) if mode == "L" else ()) + ("icc_converted",)
    np.testing.assert_array_equal(found.image, np.asarray(expected))


def test_a_jpeg_of_endless_scans_is_refused_at_once() -> None:
    data = saved(Image.fromarray(scene(64, 64)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    begin = time.perf_counter()
    with pytest.raises(Undecodable, match=f"more than {MAX_SCANS} scans"):
        decode(data[:-2] + scan * 100_000 + b"\xff\xd9")
    with pytest.raises(Undecodable, match="segments"):
        decode(data[:2] + b"\xff\xfe\0\2" * 1_000_000 + data[2:])
    with pytest.raises(Undecodable):
        decode(b"\xff\xd8" + b"\xff" * 50_000_000)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_that_pillow_wrote_is_found(options: dict[str, object], mode: str) -> None:
    picture = Image.fromarray(scene(16, 16)).convert(mode)
    found = [jpeg_quality(saved(picture, "JPEG", quality=quality, **options)) for quality in range(1, 101)]
    assert found == [float(quality) for quality in range(1, 101)]


def test_tables_of_another_maker_get_the_nearest_quality() -> None:
    picture = Image.fromarray(scene(64, 64))
    odd = saved(picture, "JPEG", qtables="web_high")
    assert 60 < (jpeg_quality(odd) or 0) < 95
    near = Image.open(io.BytesIO(saved(picture, "JPEG", quality=80))).quantization
    near[0][3] += 1
    assert jpeg_quality(saved(picture, "JPEG", qtables=near)) == 80


def test_sixteen_bit_tables_are_read() -> None:
    data = saved(Image.fromarray(scene(16, 16)).convert("L"), "JPEG", quality=30)
    at = data.index(b"\xff\xdb")
    deep = b"\x10" + struct.pack(">64H", *data[at + 5 : at + 69])
    wide = data[:at] + b"\xff\xdb" + (2 + len(deep)).to_bytes(2, "big") + deep + data[at + 69 :]
    assert jpeg_quality(wide) == 30


def test_a_thumbnail_s_tables_are_not_the_picture_s() -> None:
    small = saved(Image.fromarray(scene(16, 16)), "JPEG", quality=20)
    body = b"\xff\xe1" + (2 + len(small)).to_bytes(2, "big") + small
    data = saved(Image.fromarray(scene(64, 64)), "JPEG", quality=91)
    assert jpeg_quality(data[:2] + body + data[2:]) == 91


def test_there_is_no_quality_where_there_are_no_tables() -> None:
    data = saved(Image.fromarray(scene(16, 16)), "JPEG")
    assert jpeg_quality(saved(Image.fromarray(scene()), "PNG")) is None
    assert [jpeg_quality(data[:length]) for length in (0, 2, 3, 40, 100)] == [None] * 5
    assert jpeg_quality(b"\xff\xd8\xff\xda\0\2\xff\xd9") is None
