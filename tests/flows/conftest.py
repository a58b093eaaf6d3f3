"""One small run, from drawn pictures to films, that the tests of this folder look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SMALL = """\
name: small
resolution: 32
buckets: 4
sources:
  - kind: toon
    pictures: 60
crop:
  min_face: 64
shard:
  held_out: 0.2
train:
  preset: toon
  kimg: 0.256
  tick_kimg: 0.064
  sample_kimg: 0.128
  snapshot_kimg: 0.128
  sample_columns: 4
  sample_rows: 2
  network: {z_dim: 16, w_dim: 16, channel_base: 256, channel_max: 16}
clean:
  drop_lowest: 0.05
retrain:
  kimg: 0.128
evaluate:
  num_images: 16
  num_patches: 16
  num_directions: 32
export:
  film: {seconds: 2, columns: 2, rows: 1}
"""


class Small(NamedTuple):
    manifest: Path
    root: Path
    report: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    from flows.carry_out import carry_out
    from flows.retrain import retrain_and_export

    folder = tmp_path_factory.mktemp("small")
    manifest = folder / "small.yaml"
    manifest.write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEGAN_DATA", str(folder / "data"))
        patch.delenv("PREFECT_API_URL", raising=False)
        report = carry_out(retrain_and_export, manifest)
        yield Small(manifest, folder / "data", Path(report))
