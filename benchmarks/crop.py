"""Faces found and cut by this project and by a plain script, on the same pictures in one run.

    python -m benchmarks.crop FOLDER [--pictures 300] [--max-side 640]

The plain script is what most recipes do: one process (in which OpenCV uses all cores for the cascade), the cascade's
XML read again for every file, full size.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2

from imaging.cut import cut, face_square
from imaging.decode import Undecodable, decode
from imaging.dedup import thumbnail
from imaging.detect import DetectConfig, detect_faces
from imaging.hash import perceptual_hash
from imaging.measure import measures

SIZE = 128  # px


def main(folder: Path, num_pictures: int, max_side: int) -> None:
    """Print pictures a second and faces of each way, and their ratio."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    if not paths:
        raise ValueError(f"{folder} holds no .jpg and no .png")
    paths = paths[:: max(1, len(paths) // num_pictures)][:num_pictures]
    num_workers = os.cpu_count() or 1
    plain = timed("plain script, 1 process", map(plain_faces, paths))
    for side in (0, max_side):
        work = partial(our_faces, config=DetectConfig(max_side=side))
        one = timed(f"ours, 1 process, max_side {side}", map(work, paths))
        with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(work, paths[:num_workers]))  # start-up is not what is compared
            many = timed(f"ours, {num_workers} processes, max_side {side}", pool.map(work, paths, chunksize=8))
        print(f"  ratio to the plain script: {one / plain:.2f} with 1 process, {many / plain:.2f} with {num_workers}")


def plain_faces(path: Path) -> int:
    """Number of faces; cut and shrunk, nothing measured."""
    image = cv2.imread(str(path))
    if image is None:
        return 0
    cascade = cv2.CascadeClassifier(str(Path(str(cv2.__file__)).parent / "data/haarcascade_frontalface_default.xml"))
    grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    boxes = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(50, 50))
    for x, y, w, h in boxes:
        cv2.resize(image[y : y + h, x : x + w], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return len(boxes)


def our_faces(path: Path, config: DetectConfig) -> int:
    """Number of faces; decoded strictly, cut, measured, hashed and given a thumbnail."""
    cv2.setNumThreads(1)
    try:
        image = decode(path.read_bytes(), name=path.name).image
    except Undecodable:
        return 0
    measures(image)
    found = detect_faces(image, config)
    for box, *_ in found:
        square = face_square(box, image.shape[:2])
        if square is not None:
            face = cut(image, square, SIZE)
            measures(face)
            perceptual_hash(face)
            thumbnail(face)
    return len(found)


def timed(name: str, work: Iterable[int]) -> float:
    """Pictures a second."""
    begin = time.perf_counter()
    found = list(work)
    rate = len(found) / (time.perf_counter() - begin)
    print(f"{name:34} {rate:7.1f} pictures/s  {sum(found)} faces in {len(found)} pictures")
    return rate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--max-side", type=int, default=640)
    given = parser.parse_args()
    main(given.folder, given.pictures, given.max_side)
