"""Every way a picture file can be odd or broken, and what comes out of it."""

from __future__ import annotations

import csv
import io
import logging
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from imaging.decode import DecodeConfig, Undecodable, decode, sniff
from imaging.encode import Codec, encode


def scene(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """A smooth random picture, so that lossy codecs stay close."""
    noise = np.random.default_rng(seed).uniform(0, 255, (4, 6, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def hostile_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "hostile.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["file"].startswith("images/")]


def test_every_hostile_picture_is_accepted_or_refused_as_its_table_says(realdata: Path) -> None:
    rows, wrong = hostile_rows(realdata / "hostile"), []
    for row in rows:
        data = (realdata / "hostile" / row["file"]).read_bytes()
        begin = time.perf_counter()
        try:
            image = decode(data).image
            answer = "accept" if image.dtype == np.uint8 and image.shape[2:] == (3,) else "no image"
        except Undecodable as error:
            answer = "reject" if 5 < len(str(error)) < 200 else "no sentence"
        if row["expect"] not in (answer, "either") or time.perf_counter() - begin > 3:
            wrong.append((row["file"], row["expect"], answer))
    assert len(rows) == 118
    assert wrong == []


def test_no_warning_and_no_log_line_leaves_the_decoder(realdata: Path, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        for row in hostile_rows(realdata / "hostile"):
            try:
                decode((realdata / "hostile" / row["file"]).read_bytes())
            except Undecodable:
                continue
    assert caplog.records == []


def test_exif_rotated_pictures_come_out_upright(realdata: Path) -> None:
    images = [decode((realdata / f"hostile/images/exif__Landscape_{n}.jpg").read_bytes()) for n in (1, 3, 6)]
    assert [("exif_rotated" in picture.notes) for picture in images] == [False, True, True]
    small = [cv2.resize(picture.image, (90, 60), interpolation=cv2.INTER_AREA) for picture in images]
    assert images[2].image.shape == (1200, 1800, 3)
    assert max(distance(small[0], small[1]), distance(small[0], small[2])) < 12  # the photographs differ slightly


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_equals_pillows_own_transposition(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(scene()), "PNG", exif=exif)
    upright = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
    turned = {
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: a.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(decode(data).image, (upright | turned)[orientation](scene()))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_picture_cut_off_is_refused(form: str, share: float) -> None:
    data = saved(Image.fromarray(scene(200, 300)), form)
    assert decode(data).format == form
    with pytest.raises(Undecodable):
        decode(data[: int(len(data) * share)])


def test_real_jpegs_cut_anywhere_are_refused(realdata: Path) -> None:
    for path in sorted((realdata / "real_photos").rglob("*.jpg"))[::70]:
        data = path.read_bytes()
        assert decode(data).notes in ((), ("grey_channel",))
        for length in (len(data) // 2, len(data) * 9 // 10, len(data) - 2):
            with pytest.raises(Undecodable, match=r"(?i)cut off|trunc"):
                decode(data[:length])


def test_a_cut_jpeg_with_a_false_end_is_refused_and_a_grey_border_is_not() -> None:
    picture = scene(300, 300)
    data = saved(Image.fromarray(picture), "JPEG", quality=90)
    with pytest.raises(Undecodable, match="premature end"):
        decode(data[: len(data) // 2] + b"\xff\xd9")
    picture[150:] = 128
    assert decode(saved(Image.fromarray(picture), "JPEG", quality=90)).format == "JPEG"


def test_a_flipped_bit_in_a_png_is_refused() -> None:
    data = bytearray(saved(Image.fromarray(scene()), "PNG"))
    data[data.index(b"IDAT") + 200] ^= 1
    with pytest.raises(Undecodable, match="checksum"):
        decode(bytes(data))


def test_restart_markers_out_of_order_are_refused() -> None:
    data = saved(Image.fromarray(scene(200, 200)), "JPEG", restart_marker_blocks=4)
    decode(data)
    with pytest.raises(Undecodable, match="restart"):
        decode(data.replace(b"\xff\xd1", b"\xff\xd3", 1))


@pytest.mark.parametrize(("data", "words"), [(b"", "empty"), (b"<html>quota exceeded</html>", "no picture format")])
def test_what_is_no_picture_is_refused_by_its_first_bytes(data: bytes, words: str) -> None:
    with pytest.raises(Undecodable, match=words):
        decode(data)


def test_limits_refuse_before_pixels_are_decoded() -> None:
    large, bomb = (saved(Image.new("1", (side, side)), "PNG") for side in (9000, 20_000))
    begin = time.perf_counter()
    with pytest.raises(Undecodable, match="9000 x 9000 px are above the limit of 64000000 px"):
        decode(large)
    with pytest.raises(Undecodable, match="above the limit of 64000000 px"):
        decode(bomb)
    with pytest.raises(Undecodable, match="bytes are above"):
        decode(large, DecodeConfig(max_bytes=1000))
    assert time.perf_counter() - begin < 0.5


def test_a_picture_of_a_hundred_thousand_rows_is_refused() -> None:
    with pytest.raises(Undecodable, match="3 x 100000 px: no side"):
        decode(saved(Image.new("L", (3, 100_000)), "PNG"))


def test_cmyk_adobe_inverted_and_plain_is_close_to_its_rgb() -> None:
    rgb = Image.fromarray(scene())
    for form in ("JPEG", "TIFF"):
        picture = decode(saved(rgb.convert("CMYK"), form))
        assert "cmyk" in picture.notes
        assert distance(picture.image, scene()) < 3


def test_transparency_is_flattened_on_the_stated_colour() -> None:
    alpha = np.zeros((60, 90), np.uint8)
    alpha[:, 45:] = 255
    rgba = Image.fromarray(np.dstack([scene(), alpha]))
    for config in (DecodeConfig(), DecodeConfig(background=(10, 200, 30))):
        for picture in (rgba, rgba.convert("LA"), rgba.quantize(200)):
            found = decode(saved(picture, "PNG"), config)
            assert "alpha_flattened" in found.notes
            assert (found.image[:, :40] == config.background).all()
    found = decode(saved(rgba, "PNG"))
    np.testing.assert_array_equal(found.image[:, 45:], scene()[:, 45:])


def test_palette_and_grey_pictures_become_rgb() -> None:
    rgb = Image.fromarray(scene())
    found = decode(saved(rgb.quantize(256), "PNG"))
    assert found.notes == ("palette",)
    assert distance(found.image, scene()) < 8
    grey = decode(saved(rgb.convert("L"), "PNG"))
    assert grey.notes == ("grey_channel",)
    assert (grey.image == np.asarray(rgb.convert("L"))[..., None]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_divided_by_257_and_rounded(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    found = decode(cv2.imencode(".png", values)[1].tobytes())
    expected = np.rint(values / 257).astype(np.uint8)
    expected = np.repeat(expected, 3, axis=2) if channels == 1 else expected[..., 2::-1]
    assert "16_bit" in found.notes
    np.testing.assert_array_equal(found.image, expected)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    for form in ("GIF", "WEBP", "PNG"):
        found = decode(saved(frames[0], form, save_all=True, append_images=frames[1:]))
        assert "animated" in found.notes
        assert distance(found.image, scene()) < 8
    assert "multi_page" in decode(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])).notes


def test_a_wrong_suffix_is_noted_and_a_right_one_is_not() -> None:
    data = saved(Image.fromarray(scene()), "PNG")
    assert decode(data, name="a/b.JPG").notes == ("wrong_suffix",)
    assert decode(data, name="a.b/c").notes == ("wrong_suffix",)
    assert decode(data, name="c.PNG").notes == decode(data).notes == ()
    assert sniff(data) == "PNG"
    assert sniff(b"RIFFxxxxWEBPVP8 ") == "WEBP"


def test_icc_profiles_are_converted_to_srgb(realdata: Path) -> None:
    found = decode((realdata / "hostile/images/ljt__testorig_rgb_444_floatdct_q100_test3icc.jpg").read_bytes())
    assert found.notes == ("icc_converted",)
    lab = Image.fromarray(np.full((8, 8, 3), (128, 128, 128), np.uint8)).convert("L")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(saved(lab.convert("RGB"), "PNG", icc_profile=srgb)).notes == ()


@pytest.mark.parametrize("profile", [b"rubbish", b"\0" * 200])
def test_a_broken_profile_is_a_note_and_the_pixels_stay(profile: bytes) -> None:
    found = decode(saved(Image.fromarray(scene()), "PNG", icc_profile=profile))
    assert found.notes == ("icc_broken",)
    np.testing.assert_array_equal(found.image, scene())


def test_mutated_files_raise_nothing_but_undecodable() -> None:
    random = np.random.default_rng(0)
    files = [
        saved(Image.fromarray(scene(24, 24)), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
    ]
    num_refused = 0
    for _ in range(3000):
        data = bytearray(files[random.integers(len(files))])
        for place in random.integers(0, len(data), random.integers(1, 6)):
            data[place] = random.integers(256)
        try:
            decode(bytes(data[: random.integers(1, len(data) + 1)] if random.random() < 0.2 else data))
        except Undecodable:
            num_refused += 1
    assert 1000 < num_refused < 3000


@pytest.mark.parametrize("codec", [Codec(), Codec(format="jpg", quality=90), Codec(format="webp")])
def test_encoding_is_deterministic_and_free_of_metadata(codec: Codec) -> None:
    image = scene(64, 64)
    data = encode(image, codec)
    assert data == encode(image.copy(), codec)
    found = decode(data)
    assert found.notes == ()
    with Image.open(io.BytesIO(data)) as picture:
        assert not {"exif", "icc_profile", "dpi", "comment"} & set(picture.info)
    if codec.format == "jpg":
        assert distance(found.image, image) < 2
    else:
        np.testing.assert_array_equal(found.image, image)


def test_jpeg_faces_keep_their_full_colour_resolution() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)
    image[:, 1::2] = (0, 0, 255)
    found = decode(encode(image, Codec(format="jpg", quality=95))).image
    assert distance(found, image) < 8  # 4:2:0 would mix red and blue: 127
