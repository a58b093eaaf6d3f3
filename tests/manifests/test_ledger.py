from __future__ import annotations

from pathlib import Path

import pytest

from manifests.ledger import COLUMNS, count_reasons, kept, ledger_of, read_ledger, write_ledger

ROWS = [
    {"id": "b", "kind": "picture", "picture": "b", "reason": "", "hash": "ffffffffffffffff", "bytes": 3},
    {"id": "a", "kind": "picture", "picture": "a", "reason": "no_face"},
    {"id": "b_000", "kind": "face", "picture": "b", "reason": "", "offset": 2**40 + 1, "thumb": b"\x00\x01"},
    {"id": "b_001", "kind": "face", "picture": "b", "reason": "duplicate_of:b_000"},
]


def test_a_ledger_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_ledger(ledger_of(ROWS), tmp_path / "l.parquet")
    back = read_ledger(tmp_path / "l.parquet")
    assert list(back.columns) == list(COLUMNS)
    assert back["id"].tolist() == ["a", "b", "b_000", "b_001"]
    assert back.set_index("id").loc["b_000", "offset"] == 2**40 + 1
    assert back.set_index("id").loc["b", "hash"] == "ffffffffffffffff"
    assert back.set_index("id").loc["b_000", "thumb"] == b"\x00\x01"


def test_the_same_rows_in_any_order_are_the_same_bytes(tmp_path: Path) -> None:
    first = write_ledger(ledger_of(ROWS), tmp_path / "1.parquet")
    assert write_ledger(ledger_of(ROWS[::-1]), tmp_path / "2.parquet") == first
    assert write_ledger(read_ledger(tmp_path / "1.parquet"), tmp_path / "3.parquet") == first


def test_counts_sum_to_the_rows_of_each_kind() -> None:
    assert count_reasons(ledger_of(ROWS)) == {
        "picture": {"kept": 1, "no_face": 1},
        "face": {"duplicate": 1, "kept": 1},
    }


def test_kept_rows_have_no_reason() -> None:
    assert kept(ledger_of(ROWS), "face")["id"].tolist() == ["b_000"]


def test_an_empty_ledger_is_one_too(tmp_path: Path) -> None:
    write_ledger(ledger_of([]), tmp_path / "l.parquet")
    assert read_ledger(tmp_path / "l.parquet").empty


def test_a_ledger_is_never_half_written(tmp_path: Path) -> None:
    write_ledger(ledger_of(ROWS), tmp_path / "l.parquet")
    with pytest.raises(KeyError):
        write_ledger(ledger_of(ROWS).drop(columns="id"), tmp_path / "l.parquet")
    assert len(read_ledger(tmp_path / "l.parquet")) == len(ROWS)
