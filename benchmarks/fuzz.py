"""Throws damaged picture files at the decoder, for as long as is wanted.

    nice -n 19 python -m benchmarks.fuzz --minutes 60 [--pictures FOLDER] [--out fuzz] [--seed 0]

Real files of FOLDER (none of its own need be given) and small ones of every format, made here, are mutated one case
after the other; each is sniffed, decoded whole and reduced, and asked for its quality. Wrong is: any error but
Undecodable, more than 10 s for a case, the end of the process, memory beyond the bound, and a file that is refused
whole but not reduced. The file of each such case is kept in the out folder. Cases run in a child process that is
watched from outside; case n of a seed is always the same, and a run goes on where the last one with this seed ended.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

from imaging.decode import DecodeConfig, Decoded, Undecodable, decode, sniff
from imaging.jpeg import jpeg_quality

LIMITS = DecodeConfig(max_pixels=4_000_000, max_bytes=8_000_000)
# 400 MB over what the process holds before its first case: 100 bytes for each of the limit's pixels.
MEMORY = 100 * LIMITS.max_pixels
HANG_SECONDS, START_SECONDS = 10.0, 60.0
CASES = 20_000  # for one child: what grows in it is seen by then, and a new one starts clean
MAX_SEEDS = 400  # of a folder; the made files are to have their part
MAX_SEED_BYTES = 200_000  # larger files would be decoded more than they are mutated
EXTREMES = [b"\0\0", b"\xff\xff", b"\x7f\xff", b"\x80\0", b"\0\1", b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff"]


class Fault(NamedTuple):
    """What was wrong with a case."""

    case: int
    kind: str
    text: str


def made_files() -> list[bytes]:
    """Small files of every format and of many of their kinds."""
    noise = np.random.default_rng(0).uniform(0, 255, (6, 8, 3))
    rgb = Image.fromarray(noise.astype(np.uint8)).resize((80, 64), Image.Resampling.BICUBIC)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    deep = Image.fromarray(np.asarray(rgb.convert("L"), np.uint16) * 257)
    jpegs: tuple[dict[str, Any], ...] = ({}, {"progressive": True}, {"restart_marker_blocks": 3}, {"exif": exif})
    kinds = [
        *((rgb, "JPEG", options) for options in jpegs),
        *((rgb.convert(mode), "JPEG", {"icc_profile": profile}) for mode in ("RGB", "L", "CMYK")),
        (rgb, "MPO", frames),
        *((picture, "PNG", {}) for picture in (rgb, alpha, rgb.quantize(64), rgb.convert("1"), deep)),
        *((rgb, form, frames) for form in ("PNG", "GIF", "WEBP", "AVIF", "TIFF")),
        (rgb, "PNG", {"icc_profile": profile, "exif": exif}),
        (alpha, "GIF", {}),
        *((alpha, "WEBP", {"lossless": lossless, "exif": exif}) for lossless in (True, False)),
        *((picture, "BMP", {}) for picture in (rgb, rgb.quantize(16), alpha, rgb.convert("1"))),
        *((rgb, "TIFF", {"compression": c}) for c in ("raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")),
        *((rgb.convert(mode), "TIFF", {}) for mode in ("CMYK", "LAB", "L")),
        (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        (deep, "TIFF", {}),
        (alpha, "AVIF", {"exif": exif, "icc_profile": profile}),
    ]
    return [_saved(picture, form, options) for picture, form, options in kinds]


def _saved(picture: Image.Image, form: str, options: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    # Copies, for Pillow leaves the settings of one format on a picture, where the next one trips over them.
    frames = {name: [one.copy() for one in value] for name, value in options.items() if name == "append_images"}
    picture.copy().save(out, form, **{**options, **frames})
    return out.getvalue()


def read_files(folder: Path | None) -> list[bytes]:
    """The made files and those of a folder that start like a picture and are not large."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    small = [data for path in paths if path.stat().st_size <= MAX_SEED_BYTES and sniff(data := path.read_bytes())]
    return made_files() + small[:: max(1, len(small) // MAX_SEEDS)]


def mutated(files: list[bytes], seed: int, case: int) -> bytes:
    """Case n of a seed: one of the files with one or more places changed; half of the PNGs get right checksums."""
    random = np.random.default_rng([seed, case])
    data = bytearray(files[random.integers(len(files))])
    for _ in range(random.geometric(0.5)):
        _change(data, files, random)
    if data[:4] == b"\x89PNG" and random.random() < 0.5:
        _mend_checksums(data)
    return bytes(data)


def _change(data: bytearray, files: list[bytes], random: np.random.Generator) -> None:
    if len(data) < 16:
        return
    # Headers are short and say much: half of all changes are made in the first kilobyte.
    reach = min(len(data), 1024) if random.random() < 0.5 else len(data)
    at, length = int(random.integers(reach)), int(random.integers(1, 64))
    kind = random.integers(7)
    if kind == 0:
        data[at] ^= 1 << int(random.integers(8))
    elif kind == 1:
        data[at] = int(random.integers(256))
    elif kind == 2:
        extreme = EXTREMES[random.integers(len(EXTREMES))]
        data[at : at + len(extreme)] = extreme
    elif kind == 3:
        del data[at : at + length]
    elif kind == 4:
        data[at:at] = data[at : at + length] * int(random.integers(1, 5))
    elif kind == 5:
        other = files[random.integers(len(files))]
        start = int(random.integers(len(other)))
        data[at : at + length] = other[start : start + length]
    elif random.random() < 0.3:
        del data[at:]


def _mend_checksums(data: bytearray) -> None:
    position = 8
    while position + 12 <= len(data):
        end = position + 12 + struct.unpack_from(">I", data, position)[0]
        if end > len(data):
            return
        struct.pack_into(">I", data, end - 4, zlib.crc32(data[position + 4 : end - 4]))
        position = end


def verdict(data: bytes, reduced: int) -> str:
    """What the decoder says to a file: its format, or refused; ValueError where its answers do not fit together."""
    whole, part = _answer(data, 1), _answer(data, reduced)
    quality = jpeg_quality(data)
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality {quality}")
    if (whole is None) != (part is None) or (whole and part and whole.size != part.size):
        raise ValueError(f"whole {whole and whole.size}, at 1/{reduced} {part and part.size}")
    if whole and (whole.image.shape != (*whole.size, 3) or whole.image.dtype != np.uint8):
        raise ValueError(f"an image of {whole.image.shape}")
    return whole.format if whole else "refused"


def _answer(data: bytes, reduced: int) -> Decoded | None:
    try:
        return decode(data, LIMITS, "a.jpg", reduced)
    except Undecodable:
        return None


def try_case(files: list[bytes], seed: int, case: int) -> tuple[str, str]:
    """The verdict on a case, and what was wrong with it ("" = nothing)."""
    try:
        return verdict(mutated(files, seed, case), (2, 4, 8)[case % 3]), ""
    except Exception as error:  # noqa: BLE001  whatever comes out is what is looked for
        return "error", f"{type(error).__name__}: {error}"[:300]


def _child(files: list[bytes], seed: int, first: int, told: Connection) -> None:
    """Say the verdict on each case from the first on, and how much memory the process has taken at most."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells the terminal what it thinks of each
    decode(files[0])
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + MEMORY,) * 2)
    begin = peak_memory()
    for case in range(first, first + CASES):
        answer = try_case(files, seed, case)
        told.send((*answer, peak_memory() - begin))


def peak_memory() -> int:
    """The most that this process has held at once, bytes; ru_maxrss would count what its parent held, too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


class Run:
    """A run of one seed: where it is, what it counted, and the faults it found."""

    def __init__(self, folder: Path, seed: int, files: list[bytes]) -> None:
        self.folder, self.seed, self.files = folder, seed, files
        self.next, self.seconds, self.most = 0, 0.0, 0
        self.counts: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.state = folder / f"seed-{seed}.json"
        folder.mkdir(parents=True, exist_ok=True)
        if self.state.is_file():
            kept = json.loads(self.state.read_text(encoding="utf-8"))
            self.next, self.seconds, self.most = kept["next"], kept["seconds"], kept["most"]
            self.counts, self.faults = Counter(kept["counts"]), [Fault(*fault) for fault in kept["faults"]]

    def go_on(self, until: float) -> None:
        """Work at cases until that time (monotonic), a child process after the other."""
        while (began := time.monotonic()) < until:
            self._run_child(until)
            self.seconds += time.monotonic() - began
            kept = {name: getattr(self, name) for name in ("next", "seconds", "most", "counts", "faults")}
            self.state.write_text(json.dumps(kept), encoding="utf-8")
            print(self.line(), flush=True)

    def line(self) -> str:
        """Where the run is."""
        said = ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
        faults = f"{len(self.faults)} faults" + "".join(f"\n  {f.case} {f.kind}: {f.text}" for f in self.faults[-5:])
        memory = f"{self.most / 1e6:.0f} MB above the start at most"
        return f"seed {self.seed}: {self.next:,} cases in {self.seconds / 60:.1f} min ({said}), {memory}, {faults}"

    def _run_child(self, until: float) -> None:
        context = multiprocessing.get_context("spawn")
        heard, told = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(self.files, self.seed, self.next, told))
        child.start()
        told.close()
        last, patience = self.next + CASES, START_SECONDS
        while self.next < last and time.monotonic() < until:
            if not heard.poll(patience):
                self._add("hang", f"no answer within {patience:.0f} s")
                break
            try:
                kind, fault, memory = heard.recv()
            except EOFError:
                child.join()
                self._add("crash", f"exit code {child.exitcode}")
                break
            self.counts[kind] += 1
            self.most, patience = max(self.most, memory), HANG_SECONDS
            if fault:
                self._add(kind, fault)
            else:
                self.next += 1
        child.kill()
        child.join()

    def _add(self, kind: str, text: str) -> None:
        self.faults.append(Fault(self.next, kind, text))
        path = self.folder / f"{self.seed}-{self.next}-{kind}"
        path.write_bytes(mutated(self.files, self.seed, self.next))
        self.next += 1


def main() -> None:
    """Run for some minutes, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--pictures", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    Run(asked.out, asked.seed, read_files(asked.pictures)).go_on(time.monotonic() + 60 * asked.minutes)


if __name__ == "__main__":
    main()
