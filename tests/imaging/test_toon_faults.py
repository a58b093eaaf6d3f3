"""Every planted fault is there, its bytes really have it, and its truth says so."""

from __future__ import annotations

import io
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from imaging.toon import FAULTS, ToonConfig, ToonPicture, draw_picture
from imaging.toon.faults import planned_faults

SEED = 20
CONFIG = ToonConfig(pictures=100, fault_rate=0.2, png_share=0.2)
KINDS = [kind for kind in FAULTS if kind]
UNUSUAL = ["wrong_suffix", "cmyk", "rgba", "palette", "sixteen_bit", "exif_rotated", "animated"]
NEAR = ["duplicate_reencoded", "duplicate_resized", "duplicate_cropped", "duplicate_brightened"]


@pytest.fixture(scope="module")
def drawn() -> dict[str, ToonPicture]:
    """One picture of each kind of fault."""
    return {kind: draw_picture(SEED, index, CONFIG) for index, (kind, _) in planned_faults(SEED, CONFIG).items()}


def opened(picture: ToonPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


def upright(picture: ToonPicture) -> np.ndarray:
    image = ImageOps.exif_transpose(opened(picture)).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def original_of(picture: ToonPicture) -> ToonPicture:
    _, original = planned_faults(SEED, CONFIG)[int(picture.name[5:11])]
    return draw_picture(SEED, original, CONFIG)


def sharpness(image: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def test_kinds_take_turns_and_the_rate_is_met() -> None:
    plan = planned_faults(3, ToonConfig())
    counts = Counter(kind for kind, _ in plan.values())
    assert len(plan) == round(0.18 * 600)
    assert set(counts) == set(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_duplicates_repeat_pictures_without_a_fault() -> None:
    plan = planned_faults(3, ToonConfig())
    originals = [original for kind, original in plan.values() if kind.startswith("duplicate")]
    assert not set(originals) & set(plan)
    assert len(set(originals)) == len(originals)


def test_even_one_picture_can_be_asked_for() -> None:
    assert draw_picture(0, 0, ToonConfig(pictures=1, fault_rate=0.9)).truth.fault == ""


def test_truth_names_the_fault_and_a_reason(drawn: dict[str, ToonPicture]) -> None:
    assert set(drawn) == set(KINDS)
    for kind, picture in drawn.items():
        assert picture.truth.fault == kind
        assert picture.truth.reasons
        assert bool(picture.truth.duplicate_of) == kind.startswith("duplicate")


def test_exact_duplicate_has_the_bytes_of_another_name(drawn: dict[str, ToonPicture]) -> None:
    copy = drawn["duplicate_exact"]
    first = original_of(copy)
    assert copy.data == first.data
    assert copy.truth.duplicate_of == first.name != copy.name
    assert copy.truth.faces == first.truth.faces


@pytest.mark.parametrize("kind", NEAR)
def test_near_duplicate_is_the_same_picture_in_other_bytes(drawn: dict[str, ToonPicture], kind: str) -> None:
    copy = drawn[kind]
    first = original_of(copy)
    assert copy.data != first.data
    assert copy.truth.duplicate_of == first.name
    face, twin = first.truth.faces[0], copy.truth.faces[0]
    a, b = (
        cv2.resize(upright(p)[y0:y1, x0:x1], (32, 32), interpolation=cv2.INTER_AREA).astype(float).ravel()
        for p, (x0, y0, x1, y1) in ((first, face.box), (copy, twin.box))
    )
    assert np.corrcoef(a, b)[0, 1] > 0.98


def test_resized_and_cropped_duplicates_have_other_sizes(drawn: dict[str, ToonPicture]) -> None:
    for kind, least, most in (("duplicate_resized", 0.70, 0.93), ("duplicate_cropped", 0.955, 0.98)):
        ratio = np.array(opened(drawn[kind]).size) / opened(original_of(drawn[kind])).size
        assert ((least < ratio) & (ratio < most)).all()


def test_brightened_duplicate_is_brighter(drawn: dict[str, ToonPicture]) -> None:
    copy = drawn["duplicate_brightened"]
    assert upright(copy).mean() > upright(original_of(copy)).mean() + 6


def test_grey_picture_has_no_colour(drawn: dict[str, ToonPicture]) -> None:
    assert np.ptp(upright(drawn["grey"]), axis=2).max() <= 2


def test_single_colour_picture_has_one_colour(drawn: dict[str, ToonPicture]) -> None:
    assert upright(drawn["single_colour"]).reshape(-1, 3).std(axis=0).max() == 0


def test_blurred_picture_is_useless(drawn: dict[str, ToonPicture]) -> None:
    sharp = [sharpness(upright(drawn[kind])) for kind in UNUSUAL]
    assert sharpness(upright(drawn["blurred"])) < 0.05 * min(sharp)


def test_too_small_faces_are_under_64_px(drawn: dict[str, ToonPicture]) -> None:
    faces = drawn["too_small"].truth.faces
    assert faces
    assert all(face.box[2] - face.box[0] < 64 for face in faces)


def test_picture_without_a_face_has_none_in_its_truth(drawn: dict[str, ToonPicture]) -> None:
    picture = drawn["no_face"]
    assert picture.truth.faces == ()
    assert picture.truth.reasons == ("no_face", "grey")  # a wall may be grey, and then that is the reason
    assert upright(picture).std() > 2


def test_truncated_picture_opens_but_does_not_load(drawn: dict[str, ToonPicture]) -> None:
    image = opened(drawn["truncated"])
    with pytest.raises(OSError, match="truncated"):
        image.load()


def test_wrong_suffix_hides_a_png(drawn: dict[str, ToonPicture]) -> None:
    picture = drawn["wrong_suffix"]
    assert picture.name.endswith(".jpg")
    assert opened(picture).format == "PNG"


def test_cmyk_picture_is_a_cmyk_jpeg(drawn: dict[str, ToonPicture]) -> None:
    image = opened(drawn["cmyk"])
    assert (image.format, image.mode) == ("JPEG", "CMYK")


def test_rgba_picture_hides_magenta_under_full_transparency(drawn: dict[str, ToonPicture]) -> None:
    image = opened(drawn["rgba"])
    pixels = np.array(image)
    assert (image.format, image.mode) == ("PNG", "RGBA")
    assert (pixels[0, 0] == (255, 0, 255, 0)).all()
    assert 0.01 < (pixels[:, :, 3] == 0).mean() < 0.4


def test_palette_picture_is_a_palette_png(drawn: dict[str, ToonPicture]) -> None:
    image = opened(drawn["palette"])
    assert (image.format, image.mode) == ("PNG", "P")


def test_sixteen_bit_picture_says_so_in_its_header(drawn: dict[str, ToonPicture]) -> None:
    data = drawn["sixteen_bit"].data
    assert data[12:16] == b"IHDR"
    assert (data[24], data[25]) == (16, 2)  # bits a sample, colour type RGB
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_exif_picture_is_stored_turned(drawn: dict[str, ToonPicture]) -> None:
    picture = drawn["exif_rotated"]
    assert opened(picture).getexif()[0x0112] in (3, 6, 8)
    assert not np.array_equal(np.array(opened(picture)), upright(picture))


def test_animated_picture_blinks(drawn: dict[str, ToonPicture]) -> None:
    image = opened(drawn["animated"])
    assert image.n_frames == 2
    first = np.array(image.convert("RGB"), int)
    image.seek(1)
    changed = np.abs(first - np.array(image.convert("RGB"), int)).max(axis=2) > 60
    assert 0 < changed.mean() < 0.05


def test_empty_and_text_files_are_no_pictures(drawn: dict[str, ToonPicture]) -> None:
    assert drawn["empty"].data == b""
    assert drawn["text"].name.endswith(".jpg")
    assert b"html" in drawn["text"].data
    for kind in ("empty", "text"):
        with pytest.raises(UnidentifiedImageError):
            opened(drawn[kind])


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_encodings_still_hold_a_good_face(drawn: dict[str, ToonPicture], kind: str) -> None:
    """Decoded upright, the truth boxes hold a face: a dark band of eyes over brighter cheeks."""
    image = cv2.cvtColor(upright(drawn[kind]), cv2.COLOR_RGB2GRAY).astype(float)
    assert drawn[kind].truth.reasons == ("",)
    for face in drawn[kind].truth.faces:
        x0, y0, x1, y1 = face.box
        side = x1 - x0
        middle = image[y0:y1, x0 + side // 5 : x1 - side // 5].mean(axis=1)
        eyes = middle[int(0.34 * side) : int(0.44 * side)].mean()
        cheeks = middle[int(0.52 * side) : int(0.60 * side)].mean()
        assert eyes < cheeks
