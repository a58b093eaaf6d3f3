"""Files of known sets with bytes changed at random: refused with a name or read with rows, never anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from manifests.ledger import ledger_of, write_ledger
from manifests.sources import Source
from tasks.download import _row
from tasks.errors import IntegrityError, Refused, SourceUnavailable
from tasks.sources import SOURCES
from tests.tasks.stand_ins import celeba_tree, danbooru_tree, ffhq_tree, webdataset_shards

ROUNDS, DEAR_ROUNDS = 25, 6  # archives reach the disk each time
DEAR = ("celeba-zip", "shard")


def _parquet(root: Path) -> dict[str, Any]:
    asked = danbooru_tree(root)
    lines = (root / "metadata/2021.json").read_text().splitlines()
    pd.DataFrame([json.loads(line) for line in lines]).to_parquet(root / "metadata/2021.json")
    return asked


VICTIMS: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "attributes": (celeba_tree, "list_attr_celeba.txt"),
    "landmarks": (celeba_tree, "list_landmarks_align_celeba.txt"),
    "celeba-zip": (celeba_tree, "img_align_celeba.zip"),
    "ffhq-json": (ffhq_tree, "ffhq-dataset-v2.json"),
    "posts": (danbooru_tree, "metadata/2021.json"),
    "parquet": (_parquet, "metadata/2021.json"),
    "shard": (webdataset_shards, "shard-001.tar"),
}


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The data with bytes flipped, cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        place, length = draw.randrange(len(changed)), draw.randint(1, 40)
        match draw.randrange(5):
            case 0:
                changed[place] = draw.randrange(256)
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                changed[place : place + length] = draw.choice((b"\0", b"\xff\xfe", b"[[[[", b'"', b"-9e999", b"\n"))
            case _:
                changed = changed[: max(1, place)] if draw.random() < 0.2 else changed
        changed = changed or bytearray(b"x")
    return bytes(changed)


@pytest.mark.parametrize("victim", VICTIMS)
def test_changed_bytes_end_in_rows_or_in_a_named_error(tmp_path: Path, victim: str) -> None:
    make, name = VICTIMS[victim]
    asked, draw = make(tmp_path / "set"), random.Random(victim)
    path = tmp_path / "set" / name
    whole = path.read_bytes()
    config: Any = TypeAdapter(Source).validate_python({**asked, "where": "origin != 'x'"})
    errors, rounds = list[str](), DEAR_ROUNDS if victim in DEAR else ROUNDS
    for number in range(rounds):
        path.write_bytes(mutated(whole, draw))
        try:
            found = list(SOURCES[config.kind](config, tmp_path / f"work{number}", lambda done, total, unit: None))
        except (IntegrityError, Refused, SourceUnavailable) as error:
            errors.append(str(error))
            continue
        write_ledger(ledger_of(_row(file, config) for file in found), tmp_path / "ledger.parquet")
        assert len({file.origin for file in found}) == len(found)
    assert all(path.name in error or "shards" in error for error in errors)
