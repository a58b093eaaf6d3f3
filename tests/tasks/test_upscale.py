"""The stage upscale on a few pictures of known sizes: what rows and the record say, and what is done again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from flows.prepare import prepare_faces
from imaging.align import Quad, cut_quad
from imaging.augment import CopyConfig
from imaging.decode import DecodeConfig, Decoded, decode
from imaging.encode import Codec, encode
from imaging.resample import resample
from imaging.upscale import UpscaleConfig, upscale
from imaging.waifu2x import NetworkFiles, choose_backend
from manifests.ledger import kept, ledger_of, read_ledger, write_ledger
from manifests.schema import Manifest
from tasks.augment import augment_bucket
from tasks.errors import AssetMissing
from tasks.job import Job
from tasks.shards import Span, read_span
from tasks.store import Record
from tasks.upscale import cut_bucket, cut_face, find_networks, needed_assets, reduction
from tests.imaging.ncnn_graphs import upconv7

SIDES = (40, 40, 64, 100, 300)
Prepare = Callable[..., Job]


def picture(number: int, side: int) -> np.ndarray:
    noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return resample(noise, side)


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, side in enumerate(SIDES):
        (pictures / f"{number}.png").write_bytes(encode(picture(number, side), Codec()))

    def prepared(root: str = "data", workers: int = 1, dry: bool = False, **settings: Any) -> Job:
        asked = {
            "name": "few",
            "resolution": 64,
            "buckets": 2,
            "sources": [{"kind": "folder", "path": str(pictures)}],
            "crop": {"detector": "none", "min_face": 16, "min_sharpness": 0, "min_contrast": 0},
            "train": {"preset": "toon"},
            "upscale": settings,
        }
        job = Job(Manifest.model_validate(asked), tmp_path / "few.yaml", tmp_path / root, workers=workers, dry=dry)
        prepare_faces(job)
        return job

    return prepared


def step(job: Job) -> Record:
    return next(record for record in job.steps if record.stage == "upscale")


def faces_of(job: Job) -> pd.DataFrame:
    return kept(job.ledger(step(job).buckets), "face").set_index("origin").sort_index()


def image_at(job: Job, origin: str) -> np.ndarray:
    for name, bucket in step(job).buckets.items():
        for row in kept(job.ledger({name: bucket}), "face").to_dict("records"):
            if row["origin"] == origin:
                with (job.root / bucket.folder / row["shard"]).open("rb") as opened:
                    return decode(read_span(opened, Span(row["offset"], row["length"]))).image
    raise KeyError(origin)


@pytest.fixture
def own_network(tmp_path: Path) -> Path:
    upconv7(seed=3).write(tmp_path / "models", "scale2.0x_model")
    return tmp_path / "models"


def test_each_faces_row_says_what_happened_to_it_and_its_pixels_agree(prepare: Prepare, own_network: Path) -> None:
    asked = {"upscaler": "waifu2x", "networks": str(own_network), "backend": "torch"}
    job, config = prepare(**asked), UpscaleConfig.model_validate(asked)
    enlarged = "enlarged x1.6: waifu2x upconv7_anime scale2"
    notes = [enlarged, enlarged, "", "shrunk x0.64: lanczos", "shrunk x0.213: lanczos"]
    assert faces_of(job)["notes"].tolist() == notes
    networks = find_networks(config, job.root)
    for number, side in enumerate(SIDES):
        expected = upscale(picture(number, side), 64, config, networks)
        np.testing.assert_array_equal(image_at(job, f"{number}.png"), expected)


def test_the_record_says_what_enlarged_the_faces_and_what_the_codec_saves(prepare: Prepare, own_network: Path) -> None:
    job = prepare(upscaler="waifu2x", networks=str(own_network), codec={"format": "jpg", "quality": 90})
    record, faces = step(job), faces_of(job)
    assert record.facts["enlarged"] == 2
    assert record.facts["backend"] == record.config["upscale"]["backend"] == choose_backend("auto")
    assert record.facts["codec"] == {"format": "jpg", "quality": 90, "chroma": "444"}
    assert record.facts["bytes"] == faces["length"].sum()
    pngs = sum(len(encode(image_at(job, origin), Codec())) for origin in faces.index)
    assert record.facts["of_png"] == pytest.approx(faces["length"].sum() / pngs, abs=1e-3)
    assert "of_png" not in step(prepare()).facts


def test_workers_and_folders_change_no_byte(prepare: Prepare, own_network: Path, tmp_path: Path) -> None:
    asked = {"upscaler": "waifu2x", "backend": "torch"}
    moved = tmp_path / "moved"
    first = step(prepare(networks=str(own_network), **asked))
    own_network.rename(moved)
    second = step(prepare("elsewhere", workers=2, networks=str(moved), **asked))
    assert first.key == second.key
    assert first.output == second.output


def test_another_network_or_backend_is_another_stage_and_the_same_ones_are_not(
    prepare: Prepare, own_network: Path
) -> None:
    asked = functools.partial(prepare, dry=True, upscaler="waifu2x", networks=str(own_network))
    keys = {step(asked(backend=backend)).key for backend in ("torch", "torch-bf16")}
    upconv7(seed=4).write(own_network, "scale2.0x_model")
    keys |= {step(asked(backend="torch")).key, step(prepare(dry=True)).key}
    assert len(keys) == 4
    assert step(prepare(dry=True, backend="torch-bf16")).key != step(prepare(dry=True)).key


def test_missing_networks_are_named_before_the_work(prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"upscale\.networks: .*scale2\.0x_model\.param is not there"):
        prepare(upscaler="waifu2x", networks=str(tmp_path / "absent"))


def test_without_a_folder_waifu2x_runs_the_assets(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = UpscaleConfig(upscaler="waifu2x")
    stem = "waifu2x_upconv7_anime_scale2x"
    assert needed_assets(config) == [f"{stem}.param", f"{stem}.bin"]
    assert needed_assets(UpscaleConfig()) == needed_assets(config.model_copy(update={"networks": "x"})) == []
    monkeypatch.setenv("STYLEGAN_ASSETS", str(realdata / "assets"))
    folder = realdata / "assets"
    assert find_networks(config, tmp_path) == (NetworkFiles(folder / f"{stem}.param", folder / f"{stem}.bin"),)
    monkeypatch.setenv("STYLEGAN_ASSETS", str(tmp_path))
    with pytest.raises(AssetMissing, match=stem):
        find_networks(config, tmp_path)


def test_an_aligned_face_below_the_target_is_cut_at_its_own_size_first(own_network: Path) -> None:
    image, config = picture(0, 200), UpscaleConfig(upscaler="waifu2x", networks=str(own_network))
    quad = Quad((60.0, 50.0), (50.0, 90.0), (90.0, 100.0), (100.0, 60.0))
    row = {"id": "f", "quad": [number for corner in quad for number in corner]}
    picture_of = Decoded(image, "PNG", (), (200, 200))
    small = cut_face(picture_of, row, 64, config)
    assert small.history == "aligned, enlarged x1.56: waifu2x upconv7_anime scale2"
    np.testing.assert_array_equal(small.image, cut_quad(image, quad, 41))
    large = cut_face(picture_of, row, 16, config)
    assert large.history == "aligned, x0.388"
    np.testing.assert_array_equal(large.image, cut_quad(image, quad, 16))


@pytest.mark.parametrize(
    ("box", "filter", "expected"),
    [
        ((0, 0, 512, 512), "area", 2),  # the face itself
        ((0, 0, 512, 512), "lanczos", 1),  # which is exact
        ((8, 16, 1032, 1040), "area", 4),
        ((8, 16, 1040, 1048), "area", 2),  # at a quarter 258 px were left, filtered twice
        ((4, 16, 1036, 1048), "area", 2),
        ((5, 16, 1029, 1040), "area", 1),  # which begins within a pixel of the half
        ((0, 0, 600, 600), "area", 1),
        ((0, 0, 200, 200), "area", 1),
        ((0, 0, 8192, 8192), "area", 8),
    ],
)
def test_a_jpeg_shrinks_in_the_codec_only_where_the_face_stays_on_whole_pixels(
    box: tuple[int, int, int, int], filter: str, expected: int
) -> None:
    row: dict[Any, Any] = dict(zip(("cut_x0", "cut_y0", "cut_x1", "cut_y1"), box, strict=True))
    config = UpscaleConfig.model_validate({"filter": filter})
    assert reduction({"quad": None, **row}, 256, config) == expected
    assert reduction({"quad": [0.0] * 8, **row}, 256, config) == 1


@pytest.mark.parametrize("side", [256, 1024])
def test_a_face_that_the_codec_shrinks_is_as_near_to_lanczos_as_the_mean_over_squares(
    realdata: Path, side: int
) -> None:
    def noise(image: np.ndarray) -> float:
        return float(np.square(image.astype(float) - exact).mean())

    photo = decode(sorted((realdata / "real_photos").glob("london_*"))[0].read_bytes()).image
    data = encode(resample(photo[: min(photo.shape[:2]), : min(photo.shape[:2])], side), Codec(format="jpg"))
    row = {"id": "f", "quad": None, "cut_x0": 0, "cut_y0": 0, "cut_x1": side, "cut_y1": side}
    config = UpscaleConfig(filter="area")
    reduced = decode(data, reduced=reduction(row, 128, config))
    assert reduced.reduced == (2 if side == 256 else 8)
    exact = resample(decode(data).image, 128)
    assert noise(cut_face(reduced, row, 128, config).image) < 1.1 * noise(resample(decode(data).image, 128, "area"))
    assert cut_face(reduced, row, 128, config).history == f"shrunk x{128 / side:.3g}: area"


@pytest.fixture
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_torch_as_it_was")
def test_upright_and_aligned_faces_of_a_picture_keep_their_rows_and_have_their_variants(tmp_path: Path) -> None:
    before, cuts, variants = (tmp_path / name for name in ("before", "cuts", "variants"))
    for folder in (before, cuts, variants):
        folder.mkdir()
    image, id = picture(0, 200), "a" * 64
    (tmp_path / "picture.png").write_bytes(encode(image, Codec()))
    upright = {"cut_x0": 10, "cut_y0": 20, "cut_x1": 110, "cut_y1": 120}
    quad = [60.0, 50.0, 50.0, 90.0, 90.0, 100.0, 100.0, 60.0]
    rows: list[dict[str, Any]] = [
        {"id": id, "kind": "picture", "picture": id, "origin": "p"},
        {"id": f"{id}_000", "kind": "face", "picture": id, "origin": "p", **upright},
        {"id": f"{id}_001", "kind": "face", "picture": id, "origin": "p", **upright, "quad": quad, "hash256": "ff"},
        {"id": f"{id}_002", "kind": "face", "picture": id, "origin": "p", **upright, "reason": "blurry"},
    ]
    write_ledger(ledger_of(rows), before / "ledger.parquet")
    pd.DataFrame({"id": [id], "path": [str(tmp_path / "picture.png")]}).to_parquet(before / "paths.parquet")
    cut_bucket(cuts, before, before, 64, UpscaleConfig(), DecodeConfig(), ())
    ledger = read_ledger(cuts / "ledger.parquet")
    assert ledger["notes"].tolist() == ["", "shrunk x0.64: lanczos", "aligned, enlarged x1.56: lanczos", ""]
    assert ledger["quad"].map(lambda one: one is not None).tolist() == [False, False, True, False]
    assert ledger["reason"].tolist() == ["", "", "", "blurry"]
    augment_bucket(variants, cuts, frozenset({f"{id}_000", f"{id}_001"}), CopyConfig(copies=2), 0, Codec())
    copies = kept(read_ledger(variants / "ledger.parquet"), "variant").set_index("id")
    assert len(copies) == 4
    assert list(copies.loc[f"{id}_001_a02", "quad"]) == quad
    assert (copies["hash256"] == "").all()
