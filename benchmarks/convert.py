"""Pictures brought from 512 to 256 px: the stage upscale beside the way of NVIDIA's dataset tool, in one run.

    python -m benchmarks.convert FOLDER [--pictures 120] [--rounds 3] [--side 512] [--codecs]

FOLDER holds photographs; their upper squares become JPEGs (quality 95) of `side` px first. NVIDIA's way is that of
stylegan2-ada-pytorch's dataset_tool.py: one process, Pillow reads, shrinks by Lanczos and writes PNG that is not
compressed, into a zip that is not either. Ours is the stage's own work on a bucket: decoded strictly, cut, shrunk,
encoded, put into a shard, the ledger written. Seconds of one process are its own CPU time, with medians over rounds in
which the ways take turns; with all cores they are those of the clock.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from imaging.decode import DecodeConfig, Image8, decode
from imaging.encode import Codec, encode
from imaging.resample import Filter, resample
from imaging.upscale import UpscaleConfig
from manifests.ledger import ledger_of, write_ledger
from tasks.upscale import cut_bucket

SIZE = 256  # px
NVIDIA = "NVIDIA's way"
CODECS = {
    "PNG": Codec(format="png"),
    "WebP": Codec(format="webp"),
    "JPEG 95": Codec(format="jpg", quality=95),
    "JPEG 95 4:2:0": Codec(format="jpg", quality=95, chroma="420"),
    "JPEG 90": Codec(format="jpg", quality=90),
}


def main(given: argparse.Namespace) -> None:
    """Print pictures a second of each way, and their ratio to NVIDIA's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = squares(given.folder, given.pictures, given.side)
        bucket, paths = write_bucket(folder / "bucket", images)
        ways: dict[str, partial[None]] = {NVIDIA: partial(nvidia, paths, folder / "out.zip")}
        filters: list[Filter] = ["lanczos", "area"]
        for codec in ("jpg", "png", "webp"):
            for filter in filters:
                config = UpscaleConfig(codec=Codec(format=codec), filter=filter)
                ways[f"ours, {codec}, {filter}"] = partial(ours, bucket, folder / f"{codec}-{filter}", config)
        rates = one_process(ways, len(paths), given.rounds)
        print(f"{len(paths)} pictures, {given.side} -> {SIZE} px; one process, median of {given.rounds} rounds")
        for name, rate in rates.items():
            print(f"{name:20} {rate:7.0f} /core-s   {rate / rates[NVIDIA]:5.2f} x NVIDIA's")
        all_cores(ways, len(paths), given.rounds)
        if given.codecs:
            compare_codecs([resample(image, SIZE) for image in images])
            compare_filters(images)


def nvidia(paths: list[Path], out: Path) -> None:
    """Every picture into a zip, as the dataset tool does it."""
    labels = []
    with zipfile.ZipFile(out, "w", compression=zipfile.ZIP_STORED) as archive:
        for number, path in enumerate(paths):
            image = np.array(Image.open(path))
            small = np.array(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
            bits = io.BytesIO()
            Image.fromarray(small).save(bits, format="png", compress_level=0, optimize=False)
            name = f"{number // 1000:05d}/img{number:08d}.png"
            archive.writestr(name, bits.getbuffer())
            labels.append([name, None])
        archive.writestr("dataset.json", json.dumps({"labels": None}))


def ours(bucket: Path, out: Path, config: UpscaleConfig) -> None:
    """The stage's work on a bucket whose faces are whole pictures."""
    out.mkdir(exist_ok=True)
    cut_bucket(out, bucket, bucket, SIZE, config, DecodeConfig(), ())


def one_process(ways: dict[str, partial[None]], count: int, rounds: int) -> dict[str, float]:
    """Pictures a second of CPU time, in this process."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first one only warms
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    return {name: count / statistics.median(times[1:]) for name, times in seconds.items()}


def all_cores(ways: dict[str, partial[None]], count: int, rounds: int) -> None:
    """Pictures a second by the clock: NVIDIA's one process, and ours in as many as there are cores, a bucket each."""
    cores = os.cpu_count() or 1
    rates: dict[str, float] = {}
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for name, way in ways.items():
            alone = name == NVIDIA
            jobs: list[partial[None]] = [way] if alone else [partial(_into, way, core) for core in range(cores)]
            list(pool.map(_call, jobs))
            seconds = []
            for _ in range(rounds):
                begin = time.perf_counter()
                list(pool.map(_call, jobs))
                seconds.append(time.perf_counter() - begin)
            rates[name] = count * len(jobs) / statistics.median(seconds)
            processes = 1 if alone else cores
            print(f"{name:20} {rates[name]:7.0f} /s with {processes}   {rates[name] / rates[NVIDIA]:5.2f} x NVIDIA's")


def _call(job: Callable[[], None]) -> None:
    job()


def _into(way: partial[None], core: int) -> None:
    """Our way into a folder of this core's own."""
    bucket, out, config = way.args
    ours(bucket, out.with_name(f"{out.name}{core}"), config)


def compare_codecs(images: list[Image8]) -> None:
    """Print milliseconds, bytes and PSNR of each codec, and of Pillow as it was used before."""
    ways: dict[str, Callable[[Image8], bytes]] = {name: partial(encode, codec=one) for name, one in CODECS.items()}
    ways["Pillow PNG, level 6"] = partial(pillow, format="PNG", compress_level=6)
    ways["Pillow PNG, level 0"] = partial(pillow, format="PNG", compress_level=0)
    ways["Pillow JPEG 95, optimised"] = partial(pillow, format="JPEG", quality=95, subsampling=0, optimize=True)
    for name, way in ways.items():
        begin = time.process_time()
        files = [way(image) for image in images]
        ms = 1000 * (time.process_time() - begin) / len(images)
        decibels = np.mean([psnr(decode(file).image, image) for file, image in zip(files, images, strict=True)])
        print(f"{name:26} {ms:6.2f} ms {sum(map(len, files)) / len(files):8.0f} bytes   PSNR {decibels:.1f} dB")


def compare_filters(images: list[Image8]) -> None:
    """Print milliseconds of each filter, and how near it comes to Pillow's Lanczos."""
    expected = [np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for i in images]
    filters: list[Filter] = ["lanczos", "area"]
    for name in filters:
        begin = time.process_time()
        found = [resample(image, SIZE, name) for image in images]
        ms = 1000 * (time.process_time() - begin) / len(images)
        decibels = [psnr(one, other) for one, other in zip(found, expected, strict=True)]
        print(f"{name:26} {ms:6.2f} ms   to Pillow's Lanczos: {np.mean(decibels):.1f} dB, at worst {min(decibels):.1f}")


def pillow(image: Image8, **options: object) -> bytes:
    """The image as Pillow writes it."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def psnr(image: Image8, other: Image8) -> float:
    """Peak signal to noise in dB; 99 for equal images."""
    return float(min(99, 10 * np.log10(255**2 / max(1e-9, np.square(image.astype(float) - other).mean()))))


def squares(folder: Path, count: int, side: int) -> list[Image8]:
    """The upper squares of the pictures that are at least 0.9 side px, at side px."""
    result: list[Image8] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")):
        image = decode(path.read_bytes()).image
        least = min(image.shape[:2])
        if least >= 0.9 * side and len(result) < count:
            result.append(resample(image[:least, :least], side))
    if not result:
        raise ValueError(f"{folder} holds no picture of {0.9 * side:.0f} px")
    return [result[number % len(result)] for number in range(count)]


def write_bucket(folder: Path, images: list[Image8]) -> tuple[Path, list[Path]]:
    """The images as JPEGs with the ledger that the stages before would give; each is a picture of one face."""
    folder.mkdir()
    rows, paths = [], []
    for number, image in enumerate(images):
        path = folder / f"{number:05d}.jpg"
        path.write_bytes(pillow(image, format="JPEG", quality=95))
        id, side = f"{number:064x}", image.shape[0]
        whole = {"cut_x0": 0, "cut_y0": 0, "cut_x1": side, "cut_y1": side}
        about = {"picture": id, "source": "benchmark", "origin": path.name}
        rows += [{"id": id, "kind": "picture", **about}, {"id": f"{id}_000", "kind": "face", **about, **whole}]
        paths.append(path)
    write_ledger(ledger_of(rows), folder / "ledger.parquet")
    ids = [row["id"] for row in rows if row["kind"] == "picture"]
    pd.DataFrame({"id": ids, "path": [str(path) for path in paths]}).to_parquet(folder / "paths.parquet")
    return folder, paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--codecs", action="store_true", help="compare codecs and filters, too")
    main(parser.parse_args())
