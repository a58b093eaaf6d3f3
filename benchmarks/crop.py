"""Faces found in pictures of 1500 px, by this project and by what people use, in one run on the same files.

    python -m benchmarks.crop PACK [--pictures 40] [--rounds 3]

The pack's pictures are smaller, so they are enlarged to a longer side of 1500 px in a temporary folder (cubic, JPEG of
quality 90). Street scenes are, besides, laid side by side at their own size, which keeps their real detail and puts
more faces into a picture than photographs have. Labelled boxes are moved along.

Drawings, least face 250 px, pictures a second of the whole machine: a script that is started for every picture and
reads the cascade's XML each time, as many at once as there are cores (it decodes and searches, no more); the same in
one process that reads it once, where OpenCV has all cores; ours with a process a core, from the file to measures,
hashes and thumbnails. Labelled are the checked boxes (IoU 0.5).

Photographs, least face 60 px: YuNet at full size in one process with all cores, and in a process a core; ours, all of
it, and the search alone. Labelled are the annotated faces (IoU 0.4).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from benchmarks.detect import table
from imaging.crop import CropConfig, find_faces, reduced_by
from imaging.decode import Image8, decode
from imaging.detect import NEEDS, Box, detect_faces, overlap

SIDE = 1500  # px
LEAST_DRAWN, LEAST_REAL = 250, 60  # px of the smallest face
SCRIPT = """
import cv2, json, sys
image = cv2.imread(sys.argv[1])
grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
cascade = cv2.CascadeClassifier(sys.argv[2])
boxes = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(int(sys.argv[3]), int(sys.argv[3])))
print(json.dumps([[int(v) for v in box] for box in boxes]))
"""

Boxes = dict[str, list[Box]]
Way = Callable[[list[Path]], list[list[Box]]]


def main(pack: Path, num_pictures: int, rounds: int) -> None:
    """Print both tables."""
    assets = {name: pack / "assets" / name for name in NEEDS["anime"]}
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, pool_of(workers) as pool:
        drawn, checked = enlarged_drawings(pack, Path(folder), num_pictures)
        script = partial(by_scripts, cascade=assets["lbpcascade_animeface.xml"], workers=workers)
        print(f"drawings: {len(drawn)} pictures, {workers} cores, {rounds} rounds")
        ways: dict[str, Way] = {
            "a script for every picture": lambda paths: script(paths[: 6 * workers]),
            "one process, XML read once": partial(by_one_cascade, cascade=assets["lbpcascade_animeface.xml"]),
        }
        for detector in ("anime-lbp", "anime"):
            config = CropConfig(detector=detector, min_size=LEAST_DRAWN, min_face=LEAST_DRAWN)
            ways[f"ours, {detector}"] = partial(by_ours, pool=pool, config=config, assets=assets)
        compare(ways, drawn, checked, 0.5, rounds)

        for name, material in (("enlarged", enlarged_photographs), ("composed", composed_photographs)):
            real, annotated = material(pack, Path(folder), num_pictures)
            print(f"photographs, {name}: {len(real)} pictures, {workers} cores, {rounds} rounds")
            config = CropConfig(detector="yunet", min_size=LEAST_REAL, min_face=LEAST_REAL)
            model = assets["face_detection_yunet_2023mar.onnx"]
            ways = {
                "YuNet at full size, one process": partial(by_full_yunet, model=model),
                "the same in a process a core": partial(by_pooled_yunet, pool=pool, model=model),
                "ours, all of it": partial(by_ours, pool=pool, config=config, assets=assets),
                "ours, the search alone": partial(by_search, pool=pool, config=config, assets=assets),
            }
            compare(ways, real, annotated, 0.4, rounds)


def compare(ways: dict[str, Way], paths: list[Path], truth: Boxes, least: float, rounds: int) -> None:
    """Print a line for each way: median pictures a second, ratio to the first, and what it finds."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    boxes: dict[str, Boxes] = {}
    for number in range(rounds + 1):  # in turns; the first, in which files and networks are loaded, does not count
        for name, way in ways.items():
            begun = time.perf_counter()
            found = way(paths)
            if number:
                rates[name].append(len(found) / (time.perf_counter() - begun))
            boxes[name] = {path.name: some for path, some in zip(paths, found, strict=False)}
    first = next(iter(ways))
    for name in ways:
        known = {picture: truth[picture] for picture in boxes[name]}
        rate, ratio = median(rates[name]), median(rates[name]) / median(rates[first])
        share = f"{num_shared(known, boxes[name], least)} of {sum(map(len, known.values()))} labelled faces"
        print(f"  {name:32} {rate:8.1f} pictures/s {ratio:7.1f}x  {share}, {sum(map(len, boxes[name].values()))} boxes")


def num_shared(wanted: Boxes, found: Boxes, least: float) -> int:
    """How many of the wanted boxes were found."""
    return sum(any(overlap(box, other) >= least for other in found[name]) for name in wanted for box in wanted[name])


def by_scripts(paths: list[Path], cascade: Path, workers: int) -> list[list[Box]]:
    """A process for each picture."""

    def one(path: Path) -> list[Box]:
        command = [sys.executable, "-c", SCRIPT, str(path), str(cascade), str(LEAST_DRAWN)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [Box(x, y, x + w, y + h) for x, y, w, h in json.loads(answer)]

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(one, paths))


def by_one_cascade(paths: list[Path], cascade: Path) -> list[list[Box]]:
    """The script's logic with its start-up taken out."""
    cv2.setNumThreads(os.cpu_count() or 1)
    classifier, result = cv2.CascadeClassifier(str(cascade)), []
    for path in paths:
        grey = cv2.equalizeHist(cv2.cvtColor(read(path), cv2.COLOR_BGR2GRAY))
        found = classifier.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(LEAST_DRAWN, LEAST_DRAWN))
        result.append([Box(x, y, x + w, y + h) for x, y, w, h in np.reshape(found, (-1, 4)).tolist()])
    return result


def by_full_yunet(paths: list[Path], model: Path) -> list[list[Box]]:
    """YuNet on whole pictures in this process."""
    cv2.setNumThreads(os.cpu_count() or 1)
    return [full_yunet(path, model) for path in paths]


def by_pooled_yunet(paths: list[Path], pool: ProcessPoolExecutor, model: Path) -> list[list[Box]]:
    """YuNet on whole pictures, a process a core."""
    return list(pool.map(partial(full_yunet, model=model), paths))


def full_yunet(path: Path, model: Path) -> list[Box]:
    """The faces of one picture at its full size; the network is loaded for each, which is 1 % of the time."""
    image = read(path)
    network = cv2.FaceDetectorYN.create(str(model), "", (image.shape[1], image.shape[0]), 0.7, 0.3, 5000)
    _, rows = network.detect(image)
    found = [] if rows is None else rows[:, :4].round().astype(int).tolist()
    return [Box(x, y, x + w, y + h) for x, y, w, h in found if max(w, h) >= LEAST_REAL]


def by_ours(
    paths: list[Path], pool: ProcessPoolExecutor, config: CropConfig, assets: dict[str, Path]
) -> list[list[Box]]:
    """From the file to boxes, measures, hashes and thumbnails, a process a core."""
    return list(pool.map(partial(our_faces, config=config, assets=assets), paths, chunksize=2))


def by_search(
    paths: list[Path], pool: ProcessPoolExecutor, config: CropConfig, assets: dict[str, Path]
) -> list[list[Box]]:
    """Decoding and detection only, as the peers do, a process a core."""
    return list(pool.map(partial(searched, config=config, assets=assets), paths, chunksize=2))


def searched(path: Path, config: CropConfig, assets: dict[str, Path]) -> list[Box]:
    """The boxes of one picture, without measures and hashes."""
    data = path.read_bytes()
    seen = decode(data, config, reduced=reduced_by(data, config))
    return [one.box for one in detect_faces(seen.image, config, assets, reduced=seen.reduced, size=seen.size)]


def our_faces(path: Path, config: CropConfig, assets: dict[str, Path]) -> list[Box]:
    """The boxes of one picture."""
    return [face.detection.box for face in find_faces(path.read_bytes(), path.name, config, assets=assets).faces]


def pool_of(workers: int) -> ProcessPoolExecutor:
    """Processes as the stage has them."""
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    )


def enlarged_drawings(pack: Path, folder: Path, num_pictures: int) -> tuple[list[Path], Boxes]:
    """Paths of enlarged drawings and their checked boxes of at least LEAST_DRAWN px."""
    rows = [row for row in table(pack / "anime_illustrations/faces.csv") if row["box_source"].startswith("upstream")]
    names = [row["file"] for row in table(pack / "anime_illustrations/images.csv")]
    return enlarged(pack / "anime_illustrations", names, rows, folder, (num_pictures, LEAST_DRAWN))


def enlarged_photographs(pack: Path, folder: Path, num_pictures: int) -> tuple[list[Path], Boxes]:
    """Paths of enlarged street scenes and their annotated faces of at least LEAST_REAL px."""
    rows = [row for row in table(pack / "real_photos/faces.csv") if row["file"].startswith("scene_")]
    names = sorted({row["file"] for row in rows})
    return enlarged(pack / "real_photos", names, rows, folder, (num_pictures, LEAST_REAL))


def enlarged(
    source: Path, names: list[str], rows: list[dict[str, str]], folder: Path, limits: tuple[int, int]
) -> tuple[list[Path], Boxes]:
    """Paths of so many pictures, SIDE px long, and the labelled boxes that are of so many px then."""
    num_pictures, least = limits
    paths: list[Path] = []
    truth: Boxes = {}
    for name in names[:: max(1, len(names) // num_pictures)][:num_pictures]:
        image = read(source / name)
        scale = SIDE / max(image.shape[:2])
        large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        paths.append(written(np.asarray(large, np.uint8), folder / f"{Path(name).stem}.jpg"))
        boxes = [box_of(row, scale) for row in rows if row["file"] == name]
        truth[paths[-1].name] = [box for box in boxes if min(box.x1 - box.x0, box.y1 - box.y0) >= least]
    return paths, truth


def composed_photographs(pack: Path, folder: Path, num_pictures: int) -> tuple[list[Path], Boxes]:
    """Paths of pictures composed of street scenes in rows, and their annotated faces of at least LEAST_REAL px."""
    rows = [row for row in table(pack / "real_photos/faces.csv") if row["file"].startswith("scene_")]
    names = sorted({row["file"] for row in rows})
    canvases = [np.full((SIDE * 3 // 4, SIDE, 3), 128, np.uint8) for _ in range(num_pictures)]
    truth: Boxes = {}
    number, x, y, depth = 0, 0, 0, 0
    for name in names:
        image = read(pack / "real_photos" / name)
        height, width = image.shape[:2]
        if x + width > SIDE:
            x, y, depth = 0, y + depth, 0
        if y + height > SIDE * 3 // 4:
            number, x, y, depth = number + 1, 0, 0, 0
        if number == num_pictures:
            break
        canvases[number][y : y + height, x : x + width] = image
        boxes = [box_of(row, 1.0) for row in rows if row["file"] == name]
        truth.setdefault(f"scenes_{number}.jpg", []).extend(
            Box(b.x0 + x, b.y0 + y, b.x1 + x, b.y1 + y) for b in boxes if min(b.x1 - b.x0, b.y1 - b.y0) >= LEAST_REAL
        )
        x, depth = x + width, max(depth, height)
    return [written(canvases[int(name[7:-4])], folder / name) for name in truth], truth


def box_of(row: dict[str, str], scale: float) -> Box:
    """A labelled box, enlarged."""
    x, y, w, h = (float(row[key]) * scale for key in "xywh")
    return Box(round(x), round(y), round(x + w), round(y + h))


def read(path: Path) -> Image8:
    """A picture as OpenCV reads it, BGR."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return np.asarray(image, np.uint8)


def written(image: Image8, path: Path) -> Path:
    """The path of an image, written as a JPEG."""
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--pictures", type=int, default=40, help="of each kind at most")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.pack, given.pictures, given.rounds)
