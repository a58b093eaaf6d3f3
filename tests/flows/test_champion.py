"""A folder that grows: every run goes on from the champion, and only what is better takes its place."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.carry_out import carry_out, open_job, plan
from flows.retrain import better_model, retrain_and_export
from tasks.alone import alone
from tasks.champion import Champions, promote, promote_anyway, read_champions, roll_back
from tasks.errors import IntegrityError, Refused
from tasks.job import Job
from tasks.store import Record

GROWING = """\
name: growing
resolution: 16
buckets: 8
continue_from: champion
sources:
  - kind: folder
    path: {folder}
crop: {{detector: none, min_face: 0, min_contrast: 0, min_saturation: 0, min_sharpness: 0, factor: 1.0}}
shard: {{held_out: 0.2}}
train:
  preset: toon
  kimg: 0.064
  tick_kimg: 0.032
  sample_kimg: 0.064
  snapshot_kimg: 0.064
  sample_columns: 2
  sample_rows: 1
  network: {{z_dim: 8, w_dim: 8, channel_base: 64, channel_max: 8}}
clean: {{drop_lowest: 0.1, margin: 0.0}}
retrain: {{kimg: 0.032}}
evaluate: {{num_images: 16, num_patches: 8, num_directions: 16, num_bootstraps: 2, lowest: 8, repeats: 2}}
export: {{figures: [sample-grid], films: []}}
"""


def draw(folder: Path, first: int, count: int) -> None:
    """Pictures of a few coloured discs, each its own."""
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        image = np.full((48, 48, 3), rng.integers(40, 215, 3), np.uint8)
        for _ in range(6):
            centre, radius = rng.integers(4, 44, 2).tolist(), int(rng.integers(4, 14))
            cv2.circle(image, centre, radius, rng.integers(0, 255, 3).tolist(), -1)
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)


class Growing:
    """The manifest, its folder, and what the first run of it left."""

    first: Champions
    left: list[str]
    buckets: dict[str, float]

    def __init__(self, folder: Path) -> None:
        self.pictures, self.root = folder / "pictures", folder / "data"
        self.manifest = folder / "growing.yaml"
        self.manifest.write_text(GROWING.format(folder=self.pictures))

    def run(self) -> None:
        """One run."""
        carry_out(retrain_and_export, self.manifest)

    def stages(self) -> list[str]:
        """What a run would do now."""
        return [step.title for step in plan(retrain_and_export, self.manifest).planned if step.state == "run"]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    """A folder that was run, got a dozen pictures more, and was run again."""
    growing = Growing(tmp_path_factory.mktemp("growing"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLEGAN_DATA", str(growing.root))
        patch.delenv("PREFECT_API_URL", raising=False)
        draw(growing.pictures, 0, 40)
        growing.run()
        growing.first = read_champions(growing.root, "growing")
        growing.left = growing.stages()
        draw(growing.pictures, 40, 4)
        growing.buckets = buckets_done(growing.root)
        growing.run()
        yield growing


def buckets_done(root: Path) -> dict[str, float]:
    """Every bucket of the crop stage and when it was sealed."""
    return {path.parent.name: path.stat().st_mtime for path in (root / "crop" / "buckets").glob("*/bucket.json")}


def test_the_first_run_trains_from_nothing_and_its_model_is_the_champion(twice) -> None:
    assert len(twice.first.line) == 1
    assert twice.first.line[0].base == ""


def test_the_same_data_again_is_nothing_to_do(twice) -> None:
    assert twice.left == []
    assert twice.stages() == []


def test_new_pictures_redo_their_buckets_only(twice) -> None:
    after = buckets_done(twice.root)
    kept = {name for name, when in twice.buckets.items() if after.get(name) == when}
    assert kept == set(twice.buckets)
    assert 1 <= len(after) - len(twice.buckets) <= 4


def test_the_second_run_goes_on_from_the_champion(twice) -> None:
    job = plan(retrain_and_export, twice.manifest)
    assert not [record for record in job.steps if record.stage == "train"]
    first = twice.first.line[0]
    second = next(record for record in job.steps if record.stage == "retrain")
    choice = job.steps[-2]
    assert second.facts["runs"][0] == read(job, first.stage, first.key).facts["runs"][0]
    assert choice.stage == "choose"
    assert len(choice.facts["gains"]) == 2


def read(job: Job, stage: str, key: str) -> Record:
    return Record.model_validate_json((job.root / stage / key / "record.json").read_text())


def test_what_is_kept_is_the_champion_and_only_what_is_better_takes_its_place(twice) -> None:
    job = plan(retrain_and_export, twice.manifest)
    choice = next(record for record in reversed(job.steps) if record.stage == "choose")
    line = read_champions(twice.root, "growing").line
    assert line[-1].sha256 == choice.facts["sha256"]
    assert len(line) == (2 if choice.facts["retrained"] else 1)


def test_a_rolled_back_champion_does_not_come_back_by_itself(twice) -> None:
    job = open_job(twice.manifest, dry=True)
    chosen = better_model(job)
    before = read_champions(twice.root, "growing")
    other = chosen.model.model_copy(update={"facts": {**chosen.model.facts, "sha256": "f" * 64}})
    promote_anyway(job, other, chosen.shards)
    assert read_champions(twice.root, "growing").present.sha256 == "f" * 64
    assert roll_back(twice.root, "growing").present == before.present
    assert "rolled back" in promote(job, other, chosen.shards, chosen.base)
    assert read_champions(twice.root, "growing").present == before.present


def test_a_model_that_was_not_measured_against_the_champion_does_not_take_its_place(twice) -> None:
    job = open_job(twice.manifest, dry=True)
    chosen = better_model(job)
    other = chosen.model.model_copy(update={"facts": {**chosen.model.facts, "sha256": "e" * 64}})
    assert "not measured" in promote(job, other, chosen.shards, None)
    assert read_champions(twice.root, "growing").present.sha256 != "e" * 64


def test_without_one_before_it_a_champion_cannot_be_rolled_back(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="none before it"):
        roll_back(tmp_path, "nobody")


def test_a_broken_list_of_champions_is_named(tmp_path: Path) -> None:
    (tmp_path / "champions").mkdir()
    (tmp_path / "champions" / "a.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"a\.json is no list of champions"):
        read_champions(tmp_path, "a")


def test_a_second_run_of_one_manifest_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from tasks.alone import alone\n"
        "with alone(Path(sys.argv[1]), 'same'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Refused, match=f"process {other.pid} on"), alone(tmp_path, "same"):
            pass
        with alone(tmp_path, "another"):
            pass
        other.kill()
        other.wait()
    with alone(tmp_path, "same"):  # a killed run holds nothing
        assert json.loads((tmp_path / "running" / "same.json").read_text())["pid"] > 0
