"""Which pictures are the same: near hashes first, then a look at small thumbnails, then one keeper of each group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from imaging.decode import Image8
from imaging.hash import Hashes, HashKind, Rows, distance_bits, near_pairs

SIDE = 32
Thumbs = NDArray[np.uint8]  # [N, SIDE, SIDE]


class DedupConfig(BaseModel):
    """What counts as the same picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hash: HashKind = Field(default="phash", description="perceptual hash of 64 bits")
    threshold: int | str = Field(
        default=8, description='hashes at most so far apart are compared: bits, or a similarity "95%"'
    )
    max_residual: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of the thumbnail's contrast that may stay unexplained after alignment",
    )

    @property
    def max_distance(self) -> int:
        """The threshold in bits."""
        return distance_bits(self.threshold)


DEFAULTS = DedupConfig()


def thumbnail(image: Image8) -> NDArray[np.uint8]:
    """The grey thumbnail [32, 32] of an image [H, W, 3] that the second check compares (box filter, aspect dropped)."""
    grey = Image.fromarray(image).convert("L")
    return np.array(grey.resize((SIDE, SIDE), Image.Resampling.BOX))


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8], config: DedupConfig = DEFAULTS) -> bool:
    """Whether two thumbnails show one picture, small shifts, crops and changes of brightness and contrast aside."""
    return residual(a, b) <= config.max_residual


def residual(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """What of b stays unexplained by a after the best shift and scale, 0..1 (1 - correlation)."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norm == 0:
        return 0.0 if not x.any() and not y.any() else 1.0
    return 1.0 - float(x @ y) / norm


def group_duplicates(hashes: Hashes, thumbs: Thumbs, config: DedupConfig = DEFAULTS) -> Rows:
    """The group of each row, int64 [N]: the smallest row of its connected component, itself when alone.

    hashes uint64 [N], thumbs uint8 [N, 32, 32]. Global and exact: every pair within the threshold is looked at.
    """
    pairs = near_pairs(hashes, config.max_distance)
    same = [same_picture(thumbs[i], thumbs[j], config) for i, j in pairs]
    return _components(len(hashes), pairs[np.array(same, dtype=bool)])


def choose_keeper(areas: Sequence[float], sharpness: Sequence[float], ids: Sequence[str]) -> int:
    """The position of the member of a group that stays: largest source area (px), then sharpest, then smallest id."""
    return min(range(len(ids)), key=lambda row: (-areas[row], -sharpness[row], ids[row]))


def keepers(groups: Rows, areas: Sequence[float], sharpness: Sequence[float], ids: Sequence[str]) -> Rows:
    """For each row the row that stays of its group, int64 [N] (itself when alone)."""
    best = np.asarray(groups).copy()
    for group in np.unique(groups[groups != np.arange(len(groups))]):
        rows = np.flatnonzero(groups == group).tolist()
        kept = choose_keeper([areas[row] for row in rows], [sharpness[row] for row in rows], [ids[row] for row in rows])
        best[rows] = rows[kept]
    return best


def _components(num_rows: int, pairs: Rows) -> Rows:
    parent = list(range(num_rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for i, j in pairs.tolist():
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return np.array([root(row) for row in range(num_rows)], dtype=np.int64)
