"""The ledger as spreadsheets want it: every fact and every coordinate in a column of its own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left as seen
POINTS = {
    "landmarks": [f"{point}_{axis}" for point in _LANDMARKS for axis in "xy"],
    "quad": [f"quad_{axis}{corner}" for corner in range(4) for axis in "xy"],
}


def unfold(ledger: pd.DataFrame) -> pd.DataFrame:
    """The ledger with facts.NAME in the place of facts, and a column a coordinate in that of landmarks and quads."""
    parts = []
    for name in ledger.columns:
        if name == "facts":
            parts.append(_facts(ledger[name]))
        elif name in POINTS:
            parts.append(_coordinates(ledger[name], POINTS[name]))
        else:
            parts.append(ledger[[name]])
    return pd.concat(parts, axis=1)


def _facts(texts: pd.Series[str]) -> pd.DataFrame:
    """What the sources say, a column a name, sorted; a value that is no number, truth or text stays JSON."""
    rows = [json.loads(text) if text else {} for text in texts]
    names = sorted({name for row in rows for name in row})
    columns = {f"facts.{name}": _column([row.get(name) for row in rows]) for name in names}
    return pd.DataFrame({name: values.set_axis(texts.index) for name, values in columns.items()}, index=texts.index)


def _column(values: list[Any]) -> pd.Series[Any]:
    """Values of one kind as they are; of several kinds, or with lists among them, as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str}):
        return pd.Series(values, dtype="object").convert_dtypes()
    texts = [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
    return pd.Series(texts, dtype="str")


def _coordinates(points: pd.Series[Any], names: list[str]) -> pd.DataFrame:
    table = np.full((len(points), len(names)), np.nan, np.float32)
    there = points.notna().to_numpy()
    if there.any():
        table[there] = np.stack(points[there].to_list())
    return pd.DataFrame(table, columns=names, index=points.index)
