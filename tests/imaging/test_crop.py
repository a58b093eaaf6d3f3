"""A picture opened once: reduced where that is enough, at full size where bits are to be those of imagehash."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from imaging.align import cut_quad
from imaging.crop import CropConfig, Picture, find_faces, reduced_by
from imaging.decode import Image8, decode
from imaging.detect import NEEDS, overlap
from imaging.hash import thumbnail

BASE = CropConfig(detector="yunet", min_size=250, min_face=250)


@pytest.fixture(scope="module")
def files(realdata: Path) -> dict[str, Path]:
    return {name: realdata / "assets" / name for name in NEEDS["anime"]}


@pytest.fixture(scope="module")
def large(realdata: Path) -> list[bytes]:
    """Studio portraits at twice their size, 1350 x 1350 px, as JPEGs."""
    paths = sorted((realdata / "real_photos").glob("london_*"))[:6]
    images = [decode(path.read_bytes()).image for path in paths]
    return [jpeg(np.asarray(cv2.resize(i, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)) for i in images]


def jpeg(image: Image8, quality: int = 90, **more: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **more)
    return file.getvalue()


def asked(**changes: object) -> CropConfig:
    return CropConfig.model_validate({**BASE.model_dump(), **changes})


def both_ways(data: bytes, files: dict[str, Path], **changes: object) -> tuple[Picture, Picture]:
    first, second = (
        find_faces(data, "a.jpg", asked(scale=scale, **changes), assets=files) for scale in ("auto", "full")
    )
    return first, second


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        pytest.param({}, 2, id="measures need 128 px of a face"),
        pytest.param({"min_face": 800, "min_size": 800}, 4, id="hashes need 256 px of a picture"),
        pytest.param({"min_size": 50}, 1, id="the detector needs 30 px of a face"),
        pytest.param({"min_face": 0}, 1, id="any face counts"),
        pytest.param({"scale": "full"}, 1, id="the full size is asked for"),
        pytest.param({"detector": "centre"}, 2, id="nothing is searched"),
    ],
)
def test_a_picture_is_decoded_as_small_as_everything_allows(
    large: list[bytes], changes: dict[str, object], factor: int
) -> None:
    assert reduced_by(large[0], asked(**changes)) == factor


def test_only_jpegs_are_decoded_smaller() -> None:
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000), (200, 30, 30)).save(file, "PNG")
    assert reduced_by(file.getvalue(), BASE) == 1
    assert reduced_by(b"\xff\xd8\xff broken", BASE) == 1


def test_reduced_and_full_scale_agree_on_boxes_squares_and_reasons(large: list[bytes], files: dict[str, Path]) -> None:
    for data in large:
        quick, full = both_ways(data, files)
        assert (
            (quick.size, quick.reason, len(quick.faces))
            == (full.size, full.reason, len(full.faces))
            == (
                (1350, 1350),
                "",
                1,
            )
        )
        assert overlap(quick.faces[0].detection.box, full.faces[0].detection.box) > 0.8
        assert quick.faces[0].square is not None
        assert full.faces[0].square is not None
        assert overlap(quick.faces[0].square, full.faces[0].square) > 0.8
        assert quick.faces[0].reason == full.faces[0].reason == ""


def test_measures_and_hashes_hardly_move_when_a_picture_is_reduced(large: list[bytes], files: dict[str, Path]) -> None:
    distances = []
    for data in large:
        quick, full = both_ways(data, files, detector="centre")
        for one, other in ((quick.look, full.look), (quick.faces[0].look, full.faces[0].look)):
            assert one is not None
            assert other is not None
            distances.append(((one.hash ^ other.hash).bit_count(), (one.hash256 ^ other.hash256).bit_count()))
            assert one.measures.brightness == pytest.approx(other.measures.brightness, abs=1)
            assert one.measures.contrast == pytest.approx(other.measures.contrast, rel=0.03)
            assert one.measures.sharpness == pytest.approx(other.measures.sharpness, rel=0.25)
            assert np.abs(one.thumb.astype(int) - other.thumb).mean() < 4
    assert np.median(distances, axis=0).tolist() <= [4, 12]
    assert np.max(distances, axis=0).tolist() <= [10, 30]


def test_at_full_scale_hashes_are_imagehashs_bit_for_bit(large: list[bytes], files: dict[str, Path]) -> None:
    found = find_faces(large[0], "a.jpg", asked(scale="full"), assets=files)
    with Image.open(io.BytesIO(large[0])) as picture:
        expected = imagehash.phash(picture)
        longer = imagehash.phash(picture, hash_size=16)
    assert found.look is not None
    assert f"{found.look.hash:016x}" == str(expected)
    assert f"{found.look.hash256:064x}" == str(longer)


def test_a_portrait_brings_its_points_pose_and_quality(large: list[bytes], files: dict[str, Path]) -> None:
    found = find_faces(large[0], "a.jpg", BASE, assets=files)
    (face,) = found.faces
    assert found.quality == 90
    assert face.detection.landmarks is not None
    assert face.pose is not None
    assert abs(face.pose.yaw) < 20
    assert abs(face.pose.roll) < 10


def test_a_face_below_the_limit_in_px_of_the_source_is_too_small(large: list[bytes], files: dict[str, Path]) -> None:
    (face,) = find_faces(large[0], "a.jpg", BASE, assets=files).faces
    side = min(face.detection.box.x1 - face.detection.box.x0, face.detection.box.y1 - face.detection.box.y0)
    (dropped,) = find_faces(large[0], "a.jpg", asked(min_face=side + 20), assets=files).faces
    (kept,) = find_faces(large[0], "a.jpg", asked(min_face=side - 20), assets=files).faces
    assert (dropped.reason, kept.reason) == ("face_too_small", "")


def test_a_face_that_looks_aside_is_not_frontal(realdata: Path, files: dict[str, Path]) -> None:
    config = CropConfig(detector="yunet", min_face=0, min_size=30, min_saturation=0, min_sharpness=0, max_yaw=25)
    reasons, yaws = [], []
    for path in sorted((realdata / "real_photos").glob("lfw_*")):
        for face in find_faces(path.read_bytes(), path.name, config, assets=files).faces:
            assert face.pose is not None
            reasons.append(face.reason == "not_frontal")
            yaws.append(abs(face.pose.yaw) > 25)
    assert reasons == yaws
    assert any(yaws)
    assert not all(yaws)


def test_an_aligned_cut_of_a_reduced_picture_shows_what_that_of_the_whole_does(
    large: list[bytes], files: dict[str, Path]
) -> None:
    config = asked(align="ffhq", fine=200, max_border=0.5)
    for data in large:
        assert reduced_by(data, config) == 2
        (face,) = find_faces(data, "a.jpg", config, assets=files).faces
        assert face.quad is not None
        whole = cut_quad(decode(data).image, face.quad, 256)
        assert np.abs(thumbnail(whole).astype(int) - face.look.thumb).mean() < 4


def test_an_upright_picture_is_what_sizes_and_boxes_are_of(large: list[bytes], files: dict[str, Path]) -> None:
    upright = decode(large[0]).image[:, 200:1150]
    turned = np.ascontiguousarray(np.rot90(upright, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    found = find_faces(jpeg(turned, exif=exif), "a.jpg", BASE, assets=files)
    expected = find_faces(jpeg(np.ascontiguousarray(upright)), "a.jpg", BASE, assets=files)
    assert found.size == expected.size == (1350, 950)
    assert overlap(found.faces[0].detection.box, expected.faces[0].detection.box) > 0.9


def test_a_picture_that_does_not_decode_is_a_reason_with_a_sentence() -> None:
    found = find_faces(b"\xff\xd8\xff broken", "a.jpg", BASE)
    assert (found.reason, found.size, found.look, found.faces) == ("undecodable", (0, 0), None, [])
    assert found.notes[0]
