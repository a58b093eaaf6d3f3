"""FFHQ's aligned cuts by this project and by the published recipe, on the same faces in one run.

    python -m benchmarks.align FOLDER YUNET.onnx [--faces 100] [--sizes 128 256 512 1024]

The recipe (Karras et al. 2018, arXiv:1812.04948, appendix C, and the data set's README) is written out here as it is
described: shrink by a whole factor, cut with room around, mirror what is missing under a growing blur, sample 4096 px
along the quad, shrink to the asked size. Both start from the decoded picture and from the same five points.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from imaging.align import Quad, cut_quad, face_quad
from imaging.decode import Image8, Undecodable, decode
from imaging.detect import Landmarks, Point

SAMPLED = 4096  # px: side at which the recipe samples the quad
RUNS = 5


class Case(NamedTuple):
    """A picture and the quad of a face in it."""

    name: str
    image: Image8
    quad: Quad


def main(folder: Path, yunet: Path, num_faces: int, sizes: list[int]) -> None:
    """Print seconds a face of both, their ratio, and how far apart the pixels are."""
    cases = cases_of(folder, yunet, num_faces)
    inside = [case for case in cases if not reaches_out(case)]
    print(f"{len(cases)} faces, {len(inside)} of them inside their picture; median side {side_of(cases):.0f} px")
    print("size px   recipe ms    ours ms    ratio  PSNR dB: median   inside    outside (least)")
    for size in sizes:
        recipe, ours = [], []
        within: list[float] = []
        beyond: list[float] = []
        for case in cases:
            slow, wanted = timed(published_cut, case, size, 1)
            fast, found = timed(our_cut, case, size, RUNS)
            recipe.append(slow)
            ours.append(fast)
            (beyond if reaches_out(case) else within).append(psnr(wanted, found))
        a, b = statistics.median(recipe) * 1e3, statistics.median(ours) * 1e3
        worst = f"{min(within, default=math.nan):8.1f} {min(beyond, default=math.nan):10.1f}"
        print(f"{size:7} {a:11.1f} {b:10.2f} {a / b:8.0f} {statistics.median(within + beyond):16.1f} {worst}")


def published_cut(image: Image8, quad: Quad, size: int) -> Image8:
    """The quad at size px as the published recipe makes it."""
    picture, corners = Image.fromarray(image), np.array(quad)
    side = quad.side
    factor = math.floor(side / size * 0.5)
    if factor > 1:
        small = (round(picture.width / factor), round(picture.height / factor))
        picture, corners, side = picture.resize(small, Image.Resampling.LANCZOS), corners / factor, side / factor
    room = max(round(side * 0.1), 3)
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    x0, y0 = np.maximum(low - room, 0)
    x1, y1 = np.minimum(high + room, picture.size)
    if x1 - x0 < picture.width or y1 - y0 < picture.height:
        picture, corners = picture.crop((int(x0), int(y0), int(x1), int(y1))), corners - (x0, y0)
    low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int)
    over = np.maximum(np.concatenate([-low + room, high - picture.size + room]), 0)
    if over.max() > room - 4:
        left, top, right, bottom = (int(pad) for pad in np.maximum(over, round(side * 0.3)))
        picture = Image.fromarray(_mirrored(np.asarray(picture), (left, top, right, bottom), side))
        corners = corners + np.array([left, top])
    sampled = picture.transform(
        (SAMPLED, SAMPLED), Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BILINEAR
    )
    return np.asarray(sampled.resize((size, size), Image.Resampling.LANCZOS) if size < SAMPLED else sampled)


def _mirrored(image: Image8, pads: tuple[int, int, int, int], side: float) -> Image8:
    """The image with mirrored borders, blurred towards the outside and there faded into its median colour."""
    left, top, right, bottom = pads
    wide = np.pad(image.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = wide.shape[:2]
    y, x = np.ogrid[:height, :width]
    across = 1 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right)
    down = 1 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom)
    outside = np.maximum(across, down)[..., None]
    blur = side * 0.02
    wide += (gaussian_filter(wide, (blur, blur, 0)) - wide) * np.clip(outside * 3 + 1, 0, 1)
    wide += (np.median(wide, axis=(0, 1)) - wide) * np.clip(outside, 0, 1)
    return np.clip(np.rint(wide), 0, 255).astype(np.uint8)


def our_cut(image: Image8, quad: Quad, size: int) -> Image8:
    """The quad at size px by imaging.align."""
    return cut_quad(image, quad, size)


def cases_of(folder: Path, yunet: Path, num_faces: int) -> list[Case]:
    """Faces that YuNet finds in a folder, spread evenly over its files."""
    detector = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.7, 0.3, 5000)
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    found = []
    for path in paths[:: max(1, len(paths) // (2 * num_faces))]:
        try:
            image = decode(path.read_bytes(), name=path.name).image
        except Undecodable:
            continue
        detector.setInputSize((image.shape[1], image.shape[0]))
        _, faces = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        for face in faces if faces is not None else []:
            quad = face_quad(points_of(face))
            if quad.side >= 64:
                found.append(Case(path.name, image, quad))
    return found[:: max(1, len(found) // num_faces)][:num_faces]


def points_of(face: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Landmarks:
    """The points in a row of YuNet: x, y, w, h, then five points, then the confidence."""
    points: list[Point] = [(float(x), float(y)) for x, y in face[4:14].reshape(5, 2)]
    return Landmarks(*points)


def reaches_out(case: Case) -> bool:
    """Whether the recipe pads this one: the quad comes within 4 px of the picture's edge."""
    height, width = case.image.shape[:2]
    return any(x < 4 or y < 4 or x > width - 4 or y > height - 4 for x, y in case.quad)


def side_of(cases: list[Case]) -> float:
    """Median side of the quads, px."""
    return statistics.median(case.quad.side for case in cases)


def timed(make: Callable[[Image8, Quad, int], Image8], case: Case, size: int, runs: int) -> tuple[float, Image8]:
    """Median seconds of processor time, and the cut."""
    seconds = []
    for _ in range(runs):
        begin = time.process_time()
        found = make(case.image, case.quad, size)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds), found


def psnr(wanted: Image8, found: Image8) -> float:
    """Peak signal to noise ratio, dB."""
    error = float(((wanted.astype(np.float64) - found) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("yunet", type=Path)
    parser.add_argument("--faces", type=int, default=100)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    given = parser.parse_args()
    main(given.folder, given.yunet, given.faces, given.sizes)
