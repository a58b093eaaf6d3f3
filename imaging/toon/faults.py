"""The planted faults, and `draw_picture`: the bytes of one picture with the truth about it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from imaging.toon.canvas import Image
from imaging.toon.scene import Cast, Scene, ToonConfig, ToonFace, draw_scene


@dataclass(frozen=True)
class ToonTruth:
    """What is true of a drawn picture.

    `faces` lie in px of the upright decoded picture. `fault` is a key of `FAULTS` or "" for none. `duplicate_of` names
    the original of a duplicate. `reasons` are the ledger reasons of which any one is right; "" means to be kept.
    """

    faces: tuple[ToonFace, ...]
    fault: str
    duplicate_of: str
    reasons: tuple[str, ...]


class ToonPicture(NamedTuple):
    """One picture file of the drawn source."""

    name: str
    data: bytes
    truth: ToonTruth


class _Draw(NamedTuple):
    """What a fault is drawn from."""

    seed: int
    picture: int
    original: int
    config: ToonConfig

    def random(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.picture, purpose])


SCENE, FAULT = 1, 2
ORIENTATIONS = {3: Pictures.Transpose.ROTATE_180, 6: Pictures.Transpose.ROTATE_90, 8: Pictures.Transpose.ROTATE_270}


def draw_picture(seed: int, index: int, config: ToonConfig) -> ToonPicture:
    """Draw picture `index` of `config.pictures`: a pure function of its arguments, in any order, in any process."""
    if not 0 <= index < config.pictures:
        raise ValueError(
            f"picture {index} was asked for, but there are {config.pictures}: choose 0 to {config.pictures - 1}"
        )
    fault, original = planned_faults(seed, config).get(index, ("", index))
    return FAULTS[fault](_Draw(seed, index, original, config))


@lru_cache(maxsize=8)
def planned_faults(seed: int, config: ToonConfig) -> dict[int, tuple[str, int]]:
    """Which indices carry which fault, and the index of the original that a duplicate repeats (else itself).

    The kinds take turns, so that each is present as soon as there are as many faults as kinds.
    """
    order = np.random.default_rng([seed, FAULT]).permutation(config.pictures).tolist()
    num_faults = min(round(config.fault_rate * config.pictures), config.pictures - 1)
    kinds = [kind for kind in FAULTS if kind]
    whole = order[num_faults:]
    plan = {}
    for turn, index in enumerate(order[:num_faults]):
        kind = kinds[turn % len(kinds)]
        is_duplicate = kind.startswith("duplicate")
        plan[index] = (kind, whole[turn % len(whole)] if is_duplicate else index)
    return plan


def encode_jpeg(image: Image, quality: int) -> bytes:
    """JPEG bytes of an RGB image, 4:2:0, without metadata."""
    return _written(Pictures.fromarray(image), "JPEG", quality=quality)


def encode_png(image: Image | npt.NDArray[np.uint16]) -> bytes:
    """PNG bytes of an RGB image or of a 16-bit one, fast rather than small."""
    done, data = cv2.imencode(".png", image[:, :, ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 2))
    assert done
    return data.tobytes()


def _written(picture: Pictures.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _name(index: int, suffix: str) -> str:
    return f"toon_{index:06d}.{suffix}"


def _scene(draw: _Draw, cast: Cast = "usual", *, blink: bool = False) -> Scene:
    return draw_scene(draw.random(SCENE), draw.config, cast, blink=blink)


def _picture(
    draw: _Draw, fault: str, suffix: str, data: bytes, faces: tuple[ToonFace, ...], *reasons: str
) -> ToonPicture:
    return ToonPicture(_name(draw.picture, suffix), data, ToonTruth(faces, fault, "", reasons or ("",)))


def _whole_name(draw: _Draw) -> str:
    return _name(draw.picture, "png" if draw.random(FAULT).random() < draw.config.png_share else "jpg")


def _plain(draw: _Draw) -> ToonPicture:
    scene, name = _scene(draw), _whole_name(draw)
    data = encode_png(scene.image) if name.endswith("png") else encode_jpeg(scene.image, draw.config.jpeg_quality)
    return ToonPicture(name, data, ToonTruth(scene.faces, "", "", ("",)))


def _duplicate_exact(draw: _Draw) -> ToonPicture:
    first = _plain(draw._replace(picture=draw.original))
    truth = ToonTruth(first.truth.faces, "duplicate_exact", first.name, ("", "duplicate_of"))
    return ToonPicture(_name(draw.picture, first.name[-3:]), first.data, truth)


class _Changed(NamedTuple):
    """A picture after a change that leaves it the same to the eye."""

    image: Image
    faces: tuple[ToonFace, ...]
    quality: int


def _near_duplicate(
    fault: str, change: Callable[[Scene, np.random.Generator], _Changed]
) -> Callable[[_Draw], ToonPicture]:
    def draw_duplicate(draw: _Draw) -> ToonPicture:
        first = draw._replace(picture=draw.original)
        image, faces, quality = change(_scene(first), draw.random(FAULT))
        truth = ToonTruth(faces, fault, _whole_name(first), ("", "duplicate_of"))
        return ToonPicture(_name(draw.picture, "jpg"), encode_jpeg(image, quality), truth)

    return draw_duplicate


def _reencoded(scene: Scene, random: np.random.Generator) -> _Changed:
    return _Changed(scene.image, scene.faces, int(random.integers(60, 80)))


def _resized(scene: Scene, random: np.random.Generator) -> _Changed:
    scale = float(random.uniform(0.72, 0.92))
    height, width = scene.image.shape[:2]
    image = cv2.resize(scene.image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return _Changed(np.asarray(image, np.uint8), _moved(scene.faces, scale, 0, 0), 88)


def _cropped(scene: Scene, random: np.random.Generator) -> _Changed:
    height, width = scene.image.shape[:2]
    left, top = (int(side * random.uniform(0.02, 0.03)) for side in (width, height))
    image = np.ascontiguousarray(scene.image[top : height - top // 3, left : width - left // 3])
    return _Changed(image, _moved(scene.faces, 1.0, left, top), 90)


def _brightened(scene: Scene, random: np.random.Generator) -> _Changed:
    image = cv2.convertScaleAbs(scene.image, alpha=1.0, beta=float(random.integers(10, 22)))
    return _Changed(np.asarray(image, np.uint8), scene.faces, 90)


def _moved(faces: tuple[ToonFace, ...], scale: float, left: int, top: int) -> tuple[ToonFace, ...]:
    moved = []
    for face in faces:
        x0, y0, x1, y1 = face.box
        corner, end = (round((x0 - left) * scale), round((y0 - top) * scale)), (x1 - left, y1 - top)
        moved.append(face._replace(box=(*corner, round(end[0] * scale), round(end[1] * scale))))
    return tuple(moved)


def _grey(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    grey = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY)
    # Half of them as one channel, half as three equal ones.
    picture = Pictures.fromarray(grey) if draw.picture % 2 else Pictures.fromarray(cv2.merge([grey] * 3))
    return _picture(draw, "grey", "jpg", _written(picture, "JPEG", quality=90), scene.faces, "grey")


def _single_colour(draw: _Draw) -> ToonPicture:
    random = draw.random(FAULT)
    image = np.empty((draw.config.min_side, draw.config.min_side, 3), np.uint8)
    image[:] = random.integers(0, 256, 3)
    return _picture(draw, "single_colour", "png", encode_png(image), (), "monochrome")


def _blurred(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    side = max(face.box[2] - face.box[0] for face in scene.faces)
    image = cv2.GaussianBlur(scene.image, (0, 0), side * float(draw.random(FAULT).uniform(0.045, 0.07)))
    data = encode_jpeg(np.asarray(image, np.uint8), 92)
    return _picture(draw, "blurred", "jpg", data, scene.faces, "blurry", "no_face")


def _too_small(draw: _Draw) -> ToonPicture:
    scene = _scene(draw, cast="tiny")
    return _picture(draw, "too_small", "jpg", encode_jpeg(scene.image, 95), scene.faces, "face_too_small", "no_face")


def _no_face(draw: _Draw) -> ToonPicture:
    return _picture(draw, "no_face", "jpg", encode_jpeg(_scene(draw, cast="nobody").image, 92), (), "no_face", "grey")


def _truncated(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    data = encode_jpeg(scene.image, draw.config.jpeg_quality)
    return _picture(draw, "truncated", "jpg", data[: len(data) // 2], (), "undecodable")


def _wrong_suffix(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    return _picture(draw, "wrong_suffix", "jpg", encode_png(scene.image), scene.faces)


def _cmyk(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    picture = Pictures.fromarray(scene.image).convert("CMYK")
    return _picture(draw, "cmyk", "jpg", _written(picture, "JPEG", quality=92), scene.faces)


def _rgba(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    height, width = scene.image.shape[:2]
    alpha = np.zeros((height, width), np.uint8)
    axes = (int(width * 0.62), int(height * 0.62))
    cv2.ellipse(alpha, (width // 2, height // 2), axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    # What hides under full transparency is magenta: a decoder that drops alpha shows it.
    image = np.where(alpha[:, :, None] == 0, np.array((255, 0, 255), np.uint8), scene.image)
    picture = Pictures.fromarray(np.dstack([image, alpha]))
    return _picture(draw, "rgba", "png", _written(picture, "PNG", compress_level=1), scene.faces)


def _palette(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    picture = Pictures.fromarray(scene.image).quantize(160, Pictures.Quantize.FASTOCTREE, dither=Pictures.Dither.NONE)
    return _picture(draw, "palette", "png", _written(picture, "PNG", compress_level=2), scene.faces)


def _sixteen_bit(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    deep = scene.image.astype(np.uint16) * 257
    return _picture(draw, "sixteen_bit", "png", encode_png(deep), scene.faces)


def _exif_rotated(draw: _Draw) -> ToonPicture:
    scene = _scene(draw)
    orientation = int(draw.random(FAULT).choice(list(ORIENTATIONS)))
    exif = Pictures.Exif()
    exif[0x0112] = orientation
    turned = Pictures.fromarray(scene.image).transpose(ORIENTATIONS[orientation])
    return _picture(draw, "exif_rotated", "jpg", _written(turned, "JPEG", quality=92, exif=exif), scene.faces)


def _animated(draw: _Draw) -> ToonPicture:
    frames = [_scene(draw), _scene(draw, blink=True)]
    first, second = (
        Pictures.fromarray(f.image).quantize(128, Pictures.Quantize.FASTOCTREE, dither=Pictures.Dither.NONE)
        for f in frames
    )
    data = _written(first, "GIF", save_all=True, append_images=[second], duration=(900, 150), loop=0)
    return _picture(draw, "animated", "gif", data, frames[0].faces)


def _empty(draw: _Draw) -> ToonPicture:
    return _picture(draw, "empty", "jpg", b"", (), "undecodable", "empty")


def _text(draw: _Draw) -> ToonPicture:
    page = f"<!DOCTYPE html><title>404</title><p>Picture {draw.picture} was not found.</p>\n"
    return _picture(draw, "text", "jpg", page.encode(), (), "undecodable")


FAULTS: dict[str, Callable[[_Draw], ToonPicture]] = {
    "": _plain,
    "duplicate_exact": _duplicate_exact,
    "duplicate_reencoded": _near_duplicate("duplicate_reencoded", _reencoded),
    "duplicate_resized": _near_duplicate("duplicate_resized", _resized),
    "duplicate_cropped": _near_duplicate("duplicate_cropped", _cropped),
    "duplicate_brightened": _near_duplicate("duplicate_brightened", _brightened),
    "grey": _grey,
    "single_colour": _single_colour,
    "blurred": _blurred,
    "too_small": _too_small,
    "no_face": _no_face,
    "truncated": _truncated,
    "wrong_suffix": _wrong_suffix,
    "cmyk": _cmyk,
    "rgba": _rgba,
    "palette": _palette,
    "sixteen_bit": _sixteen_bit,
    "exif_rotated": _exif_rotated,
    "animated": _animated,
    "empty": _empty,
    "text": _text,
}
