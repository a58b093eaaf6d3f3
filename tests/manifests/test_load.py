from __future__ import annotations

import json
from pathlib import Path

import pytest

from manifests.load import ManifestError, load_manifest
from manifests.schema import Manifest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """\
name: small
resolution: 32
sources:
  - kind: toon
    pictures: 10
train:
  preset: toon
  kimg: 1
"""


def _load(tmp_path: Path, text: str, *settings: str) -> Manifest:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    return load_manifest(path, settings)


def _refusal(tmp_path: Path, text: str, *settings: str) -> str:
    with pytest.raises(ManifestError) as refused:
        _load(tmp_path, text, *settings)
    return str(refused.value)


def test_training_takes_seed_and_resolution_from_the_top(tmp_path: Path) -> None:
    manifest = _load(tmp_path, GOOD + "seed: 5\n")
    assert (manifest.train.resolution, manifest.train.seed, manifest.train.kimg) == (32, 5, 1)


def test_retrain_repeats_train_but_for_what_it_names(tmp_path: Path) -> None:
    manifest = _load(tmp_path, GOOD + "clean: {}\nretrain: {kimg: 0.5}\n")
    assert manifest.retrain is not None
    assert manifest.retrain == manifest.train.model_copy(update={"kimg": 0.5})


def test_a_misspelt_key_is_named_with_its_line_and_the_likely_meaning(tmp_path: Path) -> None:
    said = _refusal(tmp_path, GOOD + "crop:\n  detecter: haar\n")
    assert "m.yaml, line 10: crop.detecter" in said
    assert "did you mean detector?" in said


def test_a_misspelt_key_inside_a_source_is_found_by_its_kind(tmp_path: Path) -> None:
    said = _refusal(tmp_path, GOOD.replace("pictures: 10", "picturs: 10"))
    assert "line 5: sources.0.picturs" in said
    assert "did you mean pictures?" in said
    assert "at least 1 item" not in said


def test_a_misspelt_training_key_is_found_behind_the_preset(tmp_path: Path) -> None:
    assert "did you mean kimg?" in _refusal(tmp_path, GOOD.replace("kimg: 1", "kimgs: 1"))


def test_an_unknown_preset_lists_the_known_ones(tmp_path: Path) -> None:
    assert "celeba128" in _refusal(tmp_path, GOOD.replace("preset: toon", "preset: tun"))


def test_a_resolution_that_is_no_power_of_two_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    said = _refusal(tmp_path, GOOD.replace("32", "513"))
    assert "line 2" in said
    assert "choose 512 or 1024" in said


def test_cleaning_without_retraining_is_refused(tmp_path: Path) -> None:
    assert "clean and retrain go together" in _refusal(tmp_path, GOOD + "clean: {drop_lowest: 0.1}\n")


def test_two_equal_keys_are_refused_with_the_line(tmp_path: Path) -> None:
    assert "line 9" in _refusal(tmp_path, GOOD + "name: other\n")


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    assert "this is not YAML" in _refusal(tmp_path, GOOD + "crop: [1, 2\n")


def test_numbers_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    assert _load(tmp_path, GOOD + "  lr_G: 1e-3\n").train.lr_G == 0.001


def test_settings_go_over_the_manifest(tmp_path: Path) -> None:
    manifest = _load(tmp_path, GOOD, "train.kimg=4", "sources.0.pictures=7", "crop.min_face=96")
    assert (manifest.train.kimg, manifest.sources[0].model_dump()["pictures"], manifest.crop.min_face) == (4, 7, 96)


def test_a_setting_without_a_value_is_refused(tmp_path: Path) -> None:
    assert "expected KEY=VALUE" in _refusal(tmp_path, GOOD, "train.kimg")


def test_a_missing_manifest_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos.yaml").write_text(GOOD)
    with pytest.raises(ManifestError, match=r"did you mean .*photos\.yaml"):
        load_manifest(tmp_path / "photo.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_every_manifest_of_ours_is_one(path: Path) -> None:
    if path.name != "assets.yaml":
        assert load_manifest(path).name == path.stem


def test_the_json_schema_for_editors_is_the_models(tmp_path: Path) -> None:
    written = json.loads((ROOT / "manifests" / "manifest.schema.json").read_text())
    assert written == Manifest.editor_schema(), "run: python -m manifests.schema"
