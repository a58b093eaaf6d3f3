"""The audit page and the histograms of a run over real pictures and a source that lost some."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from imaging.crop import CropConfig
from manifests.ledger import count_reasons, kept, ledger_of
from manifests.schema import Manifest
from tasks.audit import SHOWN, at_random, decided, write_audit
from tasks.crop import crop_faces
from tasks.dedup import drop_duplicates
from tasks.distributions import distributions
from tasks.download import download_pictures
from tasks.job import Job
from tests.tasks.stand_ins import celeba_tree, write
from tests.tasks.test_report import HOSTILE, Page

LOST = "000006.jpg"
STEP = 36  # of the photographs every so many


@pytest.fixture(scope="module")
def run(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, pd.DataFrame]:
    """Real photographs with an empty, a cut and a doubled one among them, and a CelebA that lost a picture."""
    folder = tmp_path_factory.mktemp("audit")
    photos = sorted((realdata / "real_photos").glob("*.jpg"))[::STEP]
    for path in photos:
        shutil.copy(path, write(folder / "photos" / path.name, b""))
    write(folder / "photos" / "empty.jpg", b"")
    write(folder / "photos" / "cut.jpg", photos[0].read_bytes()[:900])
    shutil.copy(photos[1], folder / "photos" / "zz again.jpg")
    asked = celeba_tree(folder / "celeba")
    shutil.unpack_archive(folder / "celeba" / "img_align_celeba.zip", folder / "celeba" / "pictures")
    (folder / "celeba" / "pictures" / "img_align_celeba" / LOST).unlink()
    celeba = {**asked, "urls": [str(folder / "celeba" / "pictures")], "count": None, "where": "Eyeglasses == -1"}
    manifest = Manifest(
        name="audited",
        resolution=64,
        sources=[{"kind": "folder", "path": str(folder / "photos")}, celeba],
        crop={"detector": "haar", "min_face": 70, "max_side": 400},
        train={"preset": "photos"},
    )
    job = Job(manifest, folder / "audited.yaml", folder / "data", workers=1)
    found = drop_duplicates(job, crop_faces(job, download_pictures(job)))
    return job, job.ledger(found.buckets)


def page_of(job: Job, ledger: pd.DataFrame, folder: Path) -> Page:
    return Page(write_audit(job, job.steps[0], ledger, folder).read_text(encoding="utf-8"))


def test_the_reasons_of_a_run_sum_to_what_its_sources_named(run: tuple[Job, pd.DataFrame], realdata: Path) -> None:
    job, ledger = run
    num_named = len(sorted((realdata / "real_photos").glob("*.jpg"))[::STEP]) + 3 + 12
    for record in job.steps:
        counts = count_reasons(job.ledger(record.buckets))
        assert record.counts == counts
        assert sum(counts["picture"].values()) == num_named
    counts = count_reasons(ledger)
    assert sum(counts["face"].values()) == (ledger["kind"] == "face").sum()
    assert {"kept", "undecodable", "empty", "duplicate", "missing", "not_selected", "grey"} <= set(counts["picture"])
    assert "face_too_small" in counts["face"]


def test_each_reason_has_its_rows_and_the_page_is_well_formed(run: tuple[Job, pd.DataFrame], tmp_path: Path) -> None:
    job, ledger = run
    page = page_of(job, ledger, tmp_path)
    counts = count_reasons(ledger)
    expected = [n for kind, reasons in counts.items() for r, n in reasons.items() if (kind, r) != ("picture", "kept")]
    assert len(page.all("figure")) == sum(min(SHOWN, number) for number in expected)
    assert len(page.all("section")) == len(expected)
    assert len([i for i in page.all("input") if i["type"] == "radio"]) == 3 * min(SHOWN, len(kept(ledger, "face")))
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/jpeg") and image["alt"] for image in page.all("img"))
    ids = {section["id"] for section in page.all("section")}
    assert {link["href"] for link in page.all("a")} == {f"#{id}" for id in ids} | {"report.html"}


def test_pictures_that_cannot_be_shown_are_a_sentence(run: tuple[Job, pd.DataFrame], tmp_path: Path) -> None:
    job, ledger = run
    text = page_of(job, ledger, tmp_path).text
    assert "it never came" in text
    assert "the file is empty" in text
    assert "cut off" in text or "truncated" in text


def test_a_source_that_went_away_leaves_sentences_too(run: tuple[Job, pd.DataFrame], tmp_path: Path) -> None:
    job, ledger = run
    photos = Path(job.manifest.sources[0].model_dump()["path"])
    photos.rename(photos.with_name("away"))
    try:
        page = page_of(job, ledger, tmp_path)
    finally:
        photos.with_name("away").rename(photos)
    assert page.text.count("its file is not there any more") >= 12


def test_the_same_rows_are_drawn_whatever_order_the_ledger_has(run: tuple[Job, pd.DataFrame]) -> None:
    _, ledger = run
    shuffled = ledger.sample(frac=1, random_state=1)
    names = [list(at_random(rows, 20)["origin"]) for rows in (ledger, shuffled)]
    assert names[0] == names[1]
    assert names[0] != sorted(names[0])


def test_what_decided_is_said_with_its_limit() -> None:
    config = CropConfig(min_face=48, min_sharpness=15)
    face = {"kind": "face", "x0": 10, "y0": 10, "x1": 47, "y1": 60, "sharpness": 9.26, "yaw": -41.2, "roll": 3.0}
    assert decided({**face, "reason": "face_too_small"}, config) == "side 37 px < 48"
    assert decided({**face, "reason": "blurry"}, config) == "sharpness 9.26 < 15"
    assert decided({**face, "reason": "not_frontal"}, config) == "yaw -41, roll 3 degrees"
    assert decided({**face, "reason": "duplicate_of:" + "ab" * 32}, config) == "like abababababab"
    assert decided({**face, "reason": ""}, config) == "side 37 px"
    assert decided({**face, "reason": "opted_out"}, config) == ""


def test_hostile_names_are_escaped_and_a_ledger_without_rows_is_a_page(
    run: tuple[Job, pd.DataFrame], tmp_path: Path
) -> None:
    job, ledger = run
    rows = ledger[ledger["reason"] == "undecodable"].assign(origin=HOSTILE, notes=HOSTILE)
    page = page_of(job, rows, tmp_path)
    assert not page.all("script")
    assert HOSTILE in page.text
    assert page_of(job, ledger_of([]), tmp_path).all("figure") == []


def values(level: str, ledger: pd.DataFrame) -> dict[str, Any]:
    return {one.title: one for one in distributions(ledger, CropConfig(min_face=70, max_yaw=25)) if one.level == level}


def test_distributions_hold_every_known_value_once_beside_its_limits(run: tuple[Job, pd.DataFrame]) -> None:
    _, ledger = run
    faces, pictures = values("face", ledger), values("picture", ledger)
    rows = ledger[ledger["kind"] == "face"]
    assert len(faces["Size"].kept) == (rows["reason"] == "").sum()
    assert len(faces["Size"].dropped) == (rows["reason"] != "").sum()
    assert faces["Size"].limits == ((70, "min_face"),)
    assert min(faces["Size"].kept) >= 70
    assert {"Brightness", "Contrast", "Saturation", "Sharpness", "Size"} <= set(pictures)
    assert "Yaw" not in faces  # the cascade has no landmarks


def test_an_angle_has_its_limit_on_both_sides_and_a_limit_of_0_is_none() -> None:
    rows = [
        {"id": str(i), "kind": "face", "origin": "", "reason": "", "yaw": yaw, "roll": 2.0 * yaw}
        for i, yaw in enumerate((-30.0, 0.0, 12.0, math.nan))
    ]
    found = values("face", ledger_of(rows))
    assert found["Yaw"].limits == ((25, "max_yaw"), (-25, "max_yaw"))
    assert found["Roll"].limits == ()
    np.testing.assert_allclose(found["Yaw"].kept, [-30, 0, 12])


def test_pages_stay_below_their_stated_size(run: tuple[Job, pd.DataFrame], tmp_path: Path) -> None:
    job, ledger = run
    path = write_audit(job, job.steps[0], ledger, tmp_path)
    shown = len(re.findall("<figure>", path.read_text(encoding="utf-8")))
    assert path.stat().st_size < 10_000 + 6_000 * shown
