"""Decoding by this project and by bare codecs, on the same files in one run.

    python -m benchmarks.decode FOLDER [--rounds 5]

FOLDER holds real photographs; their colour JPEGs are grouped by their longer side, and every way decodes the same
files in turn, round by round. The bare codecs judge nothing: no truncation, no limit, no profile, no turn. Times are
of the processor, milliseconds a picture, the median of the rounds; then how much longer ours takes than the fastest.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from imaging.decode import REDUCTIONS, decode
from imaging.jpeg import jpeg_quality, plain_jpeg, walk_jpeg

SIDES = (0, 160, 320, 500, 1000, 1e9)  # px, the borders of the groups
PICTURES = 20  # of a group
SECONDS = 0.4  # of a round, for each way

Way = Callable[[bytes], object]
REDUCED = {1: cv2.IMREAD_COLOR_RGB, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
REDUCED[8] = cv2.IMREAD_REDUCED_COLOR_8


def by_pillow(data: bytes, reduced: int) -> object:
    """Pillow and a numpy array of it."""
    with Image.open(io.BytesIO(data)) as picture:
        if reduced > 1:
            picture.draft(None, (picture.width // reduced, picture.height // reduced))
        return np.array(picture)


def by_opencv(data: bytes, reduced: int) -> object:
    """OpenCV's imdecode, its own colour order where it reduces."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[reduced] | cv2.IMREAD_IGNORE_ORIENTATION)


def by_simplejpeg(data: bytes, reduced: int) -> object:
    """simplejpeg, told the size by its own look at the header."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, "RGB", min_height=-(-height // reduced), min_width=-(-width // reduced))


def ways_at(reduced: int) -> dict[str, Way]:
    """The bare codecs and ours, at 1/reduced."""
    return {
        "pillow": lambda data: by_pillow(data, reduced),
        "opencv": lambda data: by_opencv(data, reduced),
        "simplejpeg": lambda data: by_simplejpeg(data, reduced),
        "ours": lambda data: decode(data, reduced=reduced),
    }


def milliseconds(ways: Mapping[str, Way], files: list[bytes], num_rounds: int) -> dict[str, float]:
    """The median time of each way a picture."""
    began = time.process_time()
    for data in files:
        ways["ours"](data)
    repeats = max(1, round(SECONDS / max(1e-6, time.process_time() - began)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for name, way in ways.items():
            began = time.process_time()
            for _ in range(repeats):
                for data in files:
                    way(data)
            times[name].append((time.process_time() - began) * 1000 / repeats / len(files))
    return {name: statistics.median(values) for name, values in times.items()}


def plain_files(folder: Path) -> dict[float, list[bytes]]:
    """Colour JPEGs of the folder that are upright and sRGB, in groups by their longer side."""
    groups: dict[float, list[bytes]] = {}
    for path in sorted(folder.rglob("*.jpg")):
        data = path.read_bytes()
        plain = plain_jpeg(data, walk_jpeg(data))
        if plain and plain.channels == 3 and plain.orientation == 1 and not plain.profile:
            border = next(side for side in SIDES if max(plain.height, plain.width) <= side)
            groups.setdefault(border, []).append(data)
    return {border: files[:: max(1, len(files) // PICTURES)][:PICTURES] for border, files in sorted(groups.items())}


def other_files(data: bytes) -> dict[str, bytes]:
    """A picture in the other formats, as Pillow writes them."""
    files = {}
    with Image.open(io.BytesIO(data)) as picture:
        for form in ("PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"):
            out = io.BytesIO()
            picture.copy().save(out, form)
            files[form] = out.getvalue()
    return files


def line_of(name: str, found: Mapping[str, float]) -> str:
    """The times of a line, and ours over the fastest of the others."""
    ratio = found["ours"] / min(value for way, value in found.items() if way != "ours")
    return f"{name:>24}  " + "  ".join(f"{way} {value:8.3f}" for way, value in found.items()) + f"  x{ratio:.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    groups = plain_files(asked.folder)
    if not groups:
        raise ValueError(f"{asked.folder} holds no colour .jpg")
    for border, files in groups.items():
        name = f"{len(files)} JPEGs up to {border:.0f} px" if border < SIDES[-1] else f"{len(files)} larger JPEGs"
        print(line_of(name, milliseconds(ways_at(1), files, asked.rounds)))
    largest = groups[max(groups)]
    for reduced in REDUCTIONS[1:]:
        print(line_of(f"the largest at 1/{reduced}", milliseconds(ways_at(reduced), largest, asked.rounds)))
    for form, data in other_files(largest[0]).items():
        ways: dict[str, Way] = {"pillow": lambda data: by_pillow(data, 1), "ours": decode}
        print(line_of(form, milliseconds(ways, [data], asked.rounds)))
    quality = milliseconds({"ours": jpeg_quality}, largest, asked.rounds)["ours"]
    print(f"{'jpeg_quality':>24}  ours {quality:8.3f}")


if __name__ == "__main__":
    main()
