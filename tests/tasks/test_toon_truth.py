"""The drawn source knows the truth, so the pipeline's finds can be counted against it (benchmarks/toon_truth.py)."""

from __future__ import annotations

import pytest

from benchmarks.toon_truth import Measured, is_seen, measure, prepare, read_truth
from manifests.ledger import ledger_of
from manifests.schema import Manifest
from tasks.job import Job


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("toon")
    manifest = Manifest.model_validate(
        {
            "name": "truth",
            "sources": [{"kind": "toon", "pictures": 160, "fault_rate": 0.4, "seed": 7}],
            "crop": {"min_face": 64},
            "train": {"preset": "toon"},
        }
    )
    job = Job(manifest, folder / "m.yaml", folder / "data")
    return measure(prepare(job), read_truth(job))


def test_nearly_every_face_is_found_and_little_else(found: Measured) -> None:
    assert found.recall.total > 200
    assert found.recall.share >= 0.95
    assert found.false_boxes.share <= 0.05


def test_planted_duplicates_are_found_and_hardly_anything_else_is(found: Measured) -> None:
    assert found.duplicates_found.total >= 15
    assert found.duplicates_found.share >= 0.95
    assert found.duplicates_wrong.share <= 0.05


def test_different_faces_are_not_merged(found: Measured) -> None:
    assert found.faces_merged.share <= 0.01


def test_every_planted_fault_leaves_for_its_reason_or_stays_where_it_should(found: Measured) -> None:
    assert len(found.faults) >= 17
    shares = found.faults.values()
    assert sum(share.hits for share in shares) / sum(share.total for share in shares) >= 0.95
    assert all(share.hits for share in shares)


def test_a_box_beside_a_face_is_no_find() -> None:
    boxes = ledger_of([{"id": "a", "kind": "face", "x0": 100, "y0": 100, "x1": 200, "y1": 200}])
    assert is_seen({"box": (110, 90, 210, 190)}, boxes)
    assert not is_seen({"box": (130, 100, 230, 200)}, boxes)
