"""Dedup over streamed ledgers: what it remembers saves looks and changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from imaging.dedup import DedupConfig
from imaging.hash import SIDE, fingerprint
from manifests.ledger import ledger_of, write_ledger
from tasks.dedup import Scratch, drop_faces
from tasks.looks import Sheet, each_thumb, read_sheet
from tasks.verdicts import read_memory


def faces(seed: int, count: int) -> list[dict[str, Any]]:
    """Faces of a few dozen looks, each a little brighter, noisier, or turned over."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 64, 64), np.uint8)
    blurred = [cv2.GaussianBlur(one, (0, 0), 3).astype(float) for one in noise]
    looks = [(one - one.min()) * (240 / np.ptp(one)) for one in blurred]
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        grey = looks[random.integers(0, 40)] * random.uniform(0.8, 1) + random.normal(0, 2, (64, 64))
        image = np.repeat(grey[:, :: random.choice([1, -1]), None].clip(0, 255).astype(np.uint8), 3, axis=2)
        look, name = fingerprint(image), hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        side = int(random.integers(50, 60))
        box = {"cut_x0": 0, "cut_y0": 0, "cut_x1": side, "cut_y1": side, "sharpness": float(random.integers(0, 5))}
        hashes = {"hash": f"{look.hash:016x}", "hash256": f"{look.hash256:064x}", "thumb": look.thumb.tobytes()}
        rows.append({"id": f"{name}_000", "picture": name, "kind": "face", "reason": "", **box, **hashes})
    return rows


def written(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Ledgers of four buckets."""
    folder.mkdir()
    paths = []
    for number in range(4):
        paths.append(folder / f"{number}.parquet")
        write_ledger(ledger_of(row for row in rows if int(row["id"][0], 16) // 4 == number), paths[-1])
    return paths


def deduped(paths: list[Path], scratch: Path, config: DedupConfig) -> Sheet:
    scratch.mkdir(exist_ok=True)
    sheet = read_sheet(paths)
    drop_faces(sheet, config, Scratch(scratch, scratch / "verdicts"))
    return sheet


def found(sheet: Sheet) -> pd.DataFrame:
    return sheet.rows[["id", "group", "keeper", "reason"]]


def test_new_rows_give_what_a_run_from_nothing_gives(tmp_path: Path) -> None:
    before, later = faces(1, 300), faces(2, 40)
    for name, config in (("plain", DedupConfig()), ("mirror", DedupConfig(also=("mirror",)))):
        folder = tmp_path / name
        folder.mkdir()
        first = deduped(written(before, folder / "before"), folder / "scratch", config)
        assert 100 < (first.rows["reason"] != "").sum() < 300
        paths = written(before[20:] + later, folder / "after")
        pd.testing.assert_frame_equal(
            found(deduped(paths, folder / "scratch", config)), found(deduped(paths, folder / "fresh", config))
        )


def test_what_was_looked_at_is_not_looked_at_again(tmp_path: Path) -> None:
    rows = faces(1, 300)
    first = deduped(written(rows, tmp_path / "rows"), tmp_path / "scratch", DedupConfig())
    memory = read_memory(tmp_path / "scratch/verdicts/faces.npz")
    assert (memory.verdicts == 1).sum() >= (first.rows["reason"] != "").sum()
    random = np.random.default_rng(5)
    other = [{**row, "thumb": random.bytes(SIDE * SIDE)} for row in rows]  # whoever looked again would see noise
    paths = written(other, tmp_path / "other")
    pd.testing.assert_frame_equal(found(deduped(paths, tmp_path / "scratch", DedupConfig())), found(first))
    assert not (deduped(paths, tmp_path / "fresh", DedupConfig()).rows["reason"] != "").any()


def test_a_row_whose_hash_changed_is_new(tmp_path: Path) -> None:
    rows = faces(1, 60)
    first = deduped(written(rows, tmp_path / "rows"), tmp_path / "scratch", DedupConfig())
    left = first.rows.index[first.rows["reason"] != ""][0]
    number = next(n for n, row in enumerate(rows) if row["id"] == first.rows["id"][left])
    rows[number] |= {"hash": "0123456789abcdef", "hash256": "0123456789abcdef" * 4}
    again = deduped(written(rows, tmp_path / "again"), tmp_path / "scratch", DedupConfig())
    assert again.rows["reason"][left] == ""


def test_thumbnails_come_file_by_file_and_only_those_asked_for(tmp_path: Path) -> None:
    rows = sorted(faces(3, 50), key=lambda row: str(row["id"]))
    sheet = read_sheet(written(rows, tmp_path / "rows"))
    wanted = np.array([0, 3, 17, 18, 44, 49])
    for part, thumbs in each_thumb(sheet, wanted):
        assert [thumb.tobytes() for thumb in thumbs] == [rows[row]["thumb"] for row in wanted[part]]
    assert sum(part.stop - part.start for part, _ in each_thumb(sheet, wanted)) == len(wanted)


def test_blank_pictures_of_one_hash_are_like_their_equals_only(tmp_path: Path) -> None:
    rows = faces(4, 12)
    for number, row in enumerate(rows):
        thumb = np.full((SIDE, SIDE), 200, np.uint8)
        thumb[0, 0] += number // 4
        row |= {"hash": "8000000000000000", "hash256": "80" + "00" * 31, "thumb": thumb.tobytes()}
    sheet = deduped(written(rows, tmp_path / "rows"), tmp_path / "scratch", DedupConfig())
    assert sheet.rows["keeper"].nunique() == 3
    assert (sheet.rows["reason"] != "").sum() == 9
