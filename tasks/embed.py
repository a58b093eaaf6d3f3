"""Pictures and films inside a page: data URLs, so that one file holds all."""

from __future__ import annotations

import base64
import os
from collections import deque
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cv2
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

Image = npt.NDArray[np.uint8]
Picture = Image | Path

FILM_LIMIT = 6_000_000  # bytes; larger films are linked
WIDEST = 1600  # px; wider pictures are reduced for the page
ENLARGED_BELOW = 520  # px; narrower pictures are shown at a whole multiple


class Embedded(NamedTuple):
    """A picture as the page's <img> needs it; `number` is unique in the page."""

    source: Markup
    width: int
    height: int
    shown_width: int
    number: int


class Embedder:
    """Turns pictures into data URLs and numbers them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, picture: Picture) -> Embedded:
        """Always encoded anew: metadata of the user's pictures never enters the page."""
        image = _read(picture) if isinstance(picture, Path) else picture
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"a picture of the report is {image.dtype} {image.shape}, expected uint8 [H, W, 3]")
        if image.shape[1] > WIDEST:
            height = max(1, round(image.shape[0] * WIDEST / image.shape[1]))
            image = np.asarray(cv2.resize(image, (WIDEST, height), interpolation=cv2.INTER_AREA), np.uint8)
        self.count += 1
        height, width = image.shape[:2]
        times = max(1, ENLARGED_BELOW // width)
        return Embedded(_data_url(image), width, height, width * times, self.count)


def film_source(folder: Path, path: Path) -> Markup:
    """The film itself below FILM_LIMIT bytes, else its address as seen from the folder of the page."""
    if path.stat().st_size < FILM_LIMIT:
        return Markup("data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode())
    return Markup(quote(Path(os.path.relpath(path, folder)).as_posix()))


def film_poster(path: Path) -> Markup:
    """The film's last frame as a data URL: a browser that has not begun to play shows it, and so does paper."""
    frames = imageio_ffmpeg.read_frames(str(path), input_params=["-sseof", "-1"])
    width, height = next(frames)["size"]
    (last,) = deque(frames, maxlen=1)
    return _data_url(np.frombuffer(last, np.uint8).reshape(height, width, 3))


def _data_url(image: Image) -> Markup:
    """JPEG for photographs, PNG where it is smaller (drawings, flat colours) or the picture is small anyway."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    png = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()
    options = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    jpeg = cv2.imencode(".jpg", bgr, options)[1].tobytes()
    kind, data = ("png", png) if len(png) <= max(len(jpeg), 60_000) else ("jpeg", jpeg)
    return Markup(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")


def _read(path: Path) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} cannot be read as a picture for the report")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
