"""manifests/celeba.yaml on a small stand-in of the same layout, behind a server that breaks off once."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.prepare import prepare_faces
from manifests.ledger import kept
from manifests.load import load_manifest
from tasks.errors import IntegrityError, Refused, SourceUnavailable
from tasks.job import Job
from tasks.preflight import check_before
from tasks.shards import Span, read_span
from tests.tasks.stand_ins import celeba_tree

MANIFEST = Path(__file__).parents[2] / "manifests" / "celeba.yaml"
NUM_PICTURES = 12


@pytest.fixture(scope="module")
def archive() -> tuple[bytes, dict[str, bytes]]:
    pictures = {}
    for number in range(1, NUM_PICTURES + 1):
        small = np.random.default_rng(number).integers(0, 255, (12, 10, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(cv2.resize(small, (178, 218), interpolation=cv2.INTER_CUBIC)).save(out, "JPEG", quality=95)
        pictures[f"img_align_celeba/{number:06d}.jpg"] = out.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)
    return packed.getvalue(), pictures


def _texts(folder: Path, count: int = NUM_PICTURES) -> dict[str, str]:
    """The settings that put small text files in the place of the authors' own."""
    told = celeba_tree(folder, count)
    return {
        kind: json.dumps({"urls": told[kind]["urls"]}) for kind in ("attributes", "identity", "landmarks", "partition")
    }


def _job(tmp_path: Path, data: bytes, url: str, **more: object) -> Job:
    source = {
        "urls": f"[{url}]",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
        "count": NUM_PICTURES,
        "terms_ack": "true",
        **_texts(tmp_path / "texts"),
        **more,
    }
    settings = [f"sources.0.{name}={value}" for name, value in source.items()]
    manifest = load_manifest(MANIFEST, [*settings, "buckets=2", "upscale.codec.format=png"])
    return Job(manifest, tmp_path / "celeba.yaml", tmp_path / "data", workers=2)


def test_the_recipe_is_the_tutorials() -> None:
    manifest = load_manifest(MANIFEST)
    source = manifest.sources[0].model_dump()
    assert (source["count"], source["bytes"]) == (202_599, 1_443_490_838)
    assert source["sha256"] == "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74"
    assert source["attributes"]["md5"] == "75e246fa4810816ffd6ee81facbd244c"
    assert manifest.resolution == 128
    assert (manifest.train.lr_G, manifest.train.lr_D, manifest.train.batch, manifest.train.network.z_dim) == (
        0.001,
        0.001,
        16,
        512,
    )


def test_every_face_is_the_centre_square_pixel_by_pixel(web: Any, tmp_path: Path, archive: Any) -> None:
    data, pictures = archive
    served = web.serve("img_align_celeba.zip", data, cut_after=[len(data) // 2])
    job = _job(tmp_path, data, f"{web.url}/img_align_celeba.zip")
    shards = prepare_faces(job).shards
    assert served.sent == len(data), "a cut connection resumes: no byte twice"
    faces = kept(job.ledger(shards.buckets), "face")
    assert sorted(faces["origin"]) == sorted(pictures)
    for row in faces.to_dict("records"):
        with (job.folder(shards) / row["shard"]).open("rb") as opened:
            face = Image.open(io.BytesIO(read_span(opened, Span(row["offset"], row["length"]))))
        whole = Image.open(io.BytesIO(pictures[row["origin"]]))
        golden = whole.crop((0, 20, 178, 198)).resize((128, 128), Image.Resampling.LANCZOS)
        assert np.array_equal(np.asarray(face), np.asarray(golden))


def test_the_ledger_says_what_the_text_files_say_and_an_expression_selects(
    web: Any, tmp_path: Path, archive: Any
) -> None:
    web.serve("celeba.zip", archive[0])
    job = _job(tmp_path, archive[0], f"{web.url}/celeba.zip", where="Eyeglasses == -1")
    ledger = job.ledger(prepare_faces(job).shards.buckets)
    pictures = ledger[ledger["kind"] == "picture"].set_index("origin")
    assert pictures["reason"].value_counts().to_dict() == {"": 6, "not_selected": 6}
    for number in range(1, NUM_PICTURES + 1):
        facts = json.loads(pictures.loc[f"img_align_celeba/{number:06d}.jpg", "facts"])
        assert facts["Eyeglasses"] == (1 if number % 2 else -1)
        assert (facts["identity"], len(facts["landmarks"])) == (number // 2, 10)


def test_nothing_is_asked_of_the_server_before_the_terms_are_accepted(web: Any, tmp_path: Path, archive: Any) -> None:
    served = web.serve("celeba.zip", archive[0])
    job = _job(tmp_path, archive[0], f"{web.url}/celeba.zip", terms_ack="false")
    with pytest.raises(Refused, match="terms_ack"):
        check_before(job)
    assert not served.requests


def test_a_quota_page_is_named_as_such(web: Any, tmp_path: Path, archive: Any) -> None:
    page = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"
    web.serve("celeba.zip", page, kind="text/html")
    with pytest.raises(SourceUnavailable, match=r"web page.*Quota exceeded"):
        prepare_faces(_job(tmp_path, archive[0], f"{web.url}/celeba.zip"))


def test_a_wrong_count_is_an_error(web: Any, tmp_path: Path, archive: Any) -> None:
    web.serve("celeba.zip", archive[0])
    with pytest.raises(IntegrityError, match=rf"{NUM_PICTURES}"):
        prepare_faces(_job(tmp_path, archive[0], f"{web.url}/celeba.zip", count=13))
