"""Dedup, split and clean on ledgers made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from imaging.dedup import DedupConfig
from manifests.ledger import kept, ledger_of, write_ledger
from manifests.schema import CleanConfig
from tasks.clean import decide
from tasks.dedup import Scratch, drop_faces, drop_pictures
from tasks.looks import read_sheet
from tasks.shard import split_faces


def drop(ledger: pd.DataFrame, tmp_path: Path, stage: Callable[..., None], **config: Any) -> dict[str, str]:
    """The reasons after a part of dedup, by id."""
    write_ledger(ledger, tmp_path / "ledger.parquet")
    sheet = read_sheet([tmp_path / "ledger.parquet"])
    stage(sheet, DedupConfig(**config), Scratch(tmp_path, tmp_path / "verdicts"))
    return _reasons(sheet.rows)


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _look(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    thumb = np.kron(draw.integers(0, 255, (8, 8)), np.ones((6, 6))).astype(np.uint8)
    hashes = {"hash": draw.bytes(8).hex(), "hash256": draw.bytes(32).hex()}
    return {**hashes, "thumb": thumb.tobytes(), "sharpness": 10.0}


def _picture(name: str, look: int, size: int = 100, **more: Any) -> dict[str, Any]:
    base = {"id": _id(name), "kind": "picture", "picture": _id(name), "width": size, "height": size, "reason": ""}
    return {**base, **_look(look), **more}


def _face(name: str, look: int, number: int = 0, side: int = 50, **more: Any) -> dict[str, Any]:
    cut = {"cut_x0": 0, "cut_y0": 0, "cut_x1": side, "cut_y1": side}
    base = {"id": f"{_id(name)}_{number:03d}", "kind": "face", "picture": _id(name), "reason": ""}
    return {**base, **cut, **_look(look), **more}


def _reasons(ledger: pd.DataFrame) -> dict[str, str]:
    return dict(zip(ledger["id"], ledger["reason"], strict=True))


def test_a_duplicate_picture_takes_its_faces_along(tmp_path: Path) -> None:
    ledger = ledger_of([_picture("a", 1), _picture("b", 1, size=200), _face("a", 10), _face("b", 11)])
    reasons = drop(ledger, tmp_path, drop_pictures)
    assert reasons[_id("a")] == reasons[_id("a") + "_000"] == f"duplicate_of:{_id('b')}"
    assert reasons[_id("b")] == reasons[_id("b") + "_000"] == ""


def test_the_picture_with_more_faces_stays_though_it_is_smaller(tmp_path: Path) -> None:
    ledger = ledger_of([_picture("a", 1), _picture("b", 1, size=200), _face("a", 10)])
    reasons = drop(ledger, tmp_path, drop_pictures)
    assert reasons[_id("a")] == ""
    assert reasons[_id("b")] == f"duplicate_of:{_id('a')}"


def test_of_equal_faces_the_one_of_most_pixels_stays(tmp_path: Path) -> None:
    ledger = ledger_of([_face("a", 5), _face("b", 5, side=80), _face("c", 6)])
    reasons = drop(ledger, tmp_path, drop_faces)
    assert reasons[_id("a") + "_000"] == f"duplicate_of:{_id('b')}_000"
    assert reasons[_id("c") + "_000"] == ""


def test_then_the_sharpest_then_the_least_compressed_then_the_smallest_id_stays(tmp_path: Path) -> None:
    names = sorted("abcd", key=_id)
    rows = [
        _face(names[0], 5),
        _face(names[1], 5, jpeg_quality=80.0),
        _face(names[2], 5, jpeg_quality=90.0),
        _face(names[3], 5, jpeg_quality=90.0),
    ]
    keeper = f"{_id(names[2])}_000"
    assert [reason for reason in drop(ledger_of(rows), tmp_path, drop_faces).values() if reason] == [
        f"duplicate_of:{keeper}"
    ] * 3
    sharper = {**_face(names[0], 5), "sharpness": 11.0}
    assert drop(ledger_of([sharper, *rows[1:]]), tmp_path, drop_faces)[keeper] == f"duplicate_of:{_id(names[0])}_000"


def test_rows_that_left_before_take_no_part_in_dedup(tmp_path: Path) -> None:
    ledger = ledger_of([_face("a", 5, reason="grey"), _face("b", 5)])
    assert drop(ledger, tmp_path, drop_faces) == {_id("a") + "_000": "grey", _id("b") + "_000": ""}


def test_the_split_is_by_picture_and_by_its_id_alone() -> None:
    names = [f"p{i}" for i in range(400)]
    ledger = ledger_of([_face(name, i, number) for i, name in enumerate(names) for number in (0, 1)])
    splits = split_faces(ledger, 0.1)
    assert (
        splits[[f"{_id(n)}_000" for n in names]].to_numpy() == splits[[f"{_id(n)}_001" for n in names]].to_numpy()
    ).all()
    assert 0.05 < (splits == "held_out").mean() < 0.15
    part = split_faces(ledger.sample(frac=0.5, random_state=0), 0.1)
    assert (splits[part.index] == part).all()


def test_duplicates_lie_on_one_side_of_the_split() -> None:
    names = [f"p{i}" for i in range(200)]
    rows = []
    for i, name in enumerate(names):
        group = f"{_id(names[i - i % 2])}_000"
        rows.append(_face(name, i, group=group))
    splits = split_faces(ledger_of(rows), 0.5)
    pairs = zip(names[::2], names[1::2], strict=True)
    assert all(splits[f"{_id(a)}_000"] == splits[f"{_id(b)}_000"] for a, b in pairs)
    assert set(splits) == {"train", "held_out"}


def _scored() -> pd.DataFrame:
    rows = [_face(f"p{i}", i, score=float(i), rank=i + 1, split="train") for i in range(20)]
    return ledger_of([*rows, _face("h", 99, score=-100.0, rank=0, split="held_out")])


def test_both_tails_leave_and_held_out_faces_stay() -> None:
    reasons = _reasons(decide(_scored(), CleanConfig(drop_lowest=0.1, drop_highest=0.05)))
    low = {f"{_id('p0')}_000", f"{_id('p1')}_000"}
    assert {face for face, reason in reasons.items() if reason == "low_score"} == low
    assert {face for face, reason in reasons.items() if reason == "high_score"} == {f"{_id('p19')}_000"}
    assert reasons[f"{_id('h')}_000"] == ""


def test_a_persons_word_outranks_the_score() -> None:
    config = CleanConfig(drop_lowest=0.1, keep=(_id("p0")[:12],), drop=(_id("p10")[:12],))
    reasons = _reasons(decide(_scored(), config))
    assert reasons[f"{_id('p0')}_000"] == ""
    assert reasons[f"{_id('p1')}_000"] == "low_score"
    assert reasons[f"{_id('p10')}_000"] == "review:drop"


def test_cleaning_loses_no_row() -> None:
    before, after = _scored(), decide(_scored(), CleanConfig(drop_lowest=0.4, drop_highest=0.4))
    assert after["id"].tolist() == before["id"].tolist()
    assert len(kept(after, "face")) == len(before) - 16
