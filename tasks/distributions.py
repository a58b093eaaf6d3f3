"""How the measures of pictures and faces are distributed, kept and dropped apart, beside the limits that they met."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imaging.crop import CropConfig


class Limit(NamedTuple):
    """A line in a histogram: where it stands and what the manifest calls it."""

    value: float
    name: str


class Distribution(NamedTuple):
    """The values of one measure, of rows that were kept and of rows that left for whatever reason."""

    level: str  # picture or face
    title: str
    unit: str
    kept: NDArray[np.float64]
    dropped: NDArray[np.float64]
    limits: tuple[Limit, ...] = ()


class _Measure(NamedTuple):
    """One measure of the ledger: where its values come from, and the settings that limit it, by level."""

    title: str
    unit: str
    values: Callable[[pd.DataFrame], pd.Series]
    limits: dict[str, tuple[str, ...]]


def box_side(rows: pd.DataFrame) -> pd.Series:
    """The shorter side of the detected boxes, px."""
    return pd.concat([rows["x1"] - rows["x0"], rows["y1"] - rows["y0"]], axis=1).min(axis=1)


def _shorter_side(rows: pd.DataFrame) -> pd.Series:
    """Of pictures that of the file, of faces that of the box."""
    of_file = rows[["width", "height"]].min(axis=1)
    return of_file.where(rows["kind"] == "picture", box_side(rows))


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda rows: rows[name]


_BOTH = ("picture", "face")
_MEASURES = (
    _Measure("Size", "shorter side, px", _shorter_side, dict.fromkeys(_BOTH, ("min_face",))),
    _Measure("Brightness", "mean of grey", _column("brightness"), dict.fromkeys(_BOTH, ())),
    _Measure("Contrast", "deviation of grey", _column("contrast"), dict.fromkeys(_BOTH, ("min_contrast",))),
    _Measure("Saturation", "spread of chroma", _column("saturation"), dict.fromkeys(_BOTH, ("min_saturation",))),
    _Measure("Sharpness", "variance of Laplacian", _column("sharpness"), {"picture": (), "face": ("min_sharpness",)}),
    _Measure("Flat border", "share of the area", _column("border"), {"picture": (), "face": ("max_flat_border",)}),
    _Measure("JPEG quality", "by its tables", _column("jpeg_quality"), {"picture": ("min_jpeg_quality",)}),
    _Measure("Confidence", "the detector's own", _column("confidence"), {"face": ()}),
    _Measure("Yaw", "degrees to the right", _column("yaw"), {"face": ("max_yaw",)}),
    _Measure("Roll", "degrees clockwise", _column("roll"), {"face": ("max_roll",)}),
)


def distributions(ledger: pd.DataFrame, config: CropConfig) -> tuple[Distribution, ...]:
    """One for each measure that the rows of a level have; a limit of 0 is none, and one of an angle holds both ways."""
    found = []
    for level in _BOTH:
        rows = ledger[ledger["kind"] == level]
        for measure in _MEASURES:
            if level not in measure.limits:
                continue
            values = pd.to_numeric(measure.values(rows), errors="coerce").astype("float64")
            stays, known = rows["reason"] == "", values.notna()
            if values.nunique() < 2:
                continue
            kept, dropped = (np.asarray(values[known & part], np.float64) for part in (stays, ~stays))
            limits = _limits(measure.limits[level], config)
            found.append(Distribution(level, measure.title, measure.unit, kept, dropped, limits))
    return tuple(found)


def _limits(names: tuple[str, ...], config: CropConfig) -> tuple[Limit, ...]:
    asked = [(name, float(getattr(config, name))) for name in names]
    both = [(name, sign * value) for name, value in asked if value for sign in (1, -1)]
    return tuple(Limit(value, name) for name, value in both if value > 0 or name in ("max_yaw", "max_roll"))
