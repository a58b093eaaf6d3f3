"""Lanczos and waifu2x: sizes, seams, alignment, and what the network is worth on real drawings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from imaging.decode import decode
from imaging.resample import resample
from imaging.upscale import UPSCALERS, UpscaleConfig, bring_to_size, files_in, history, upscale
from imaging.waifu2x import NetworkFiles, choose_backend, enlarge, load_network
from tests.imaging.ncnn_graphs import cunet, upconv7

WAIFU2X = UpscaleConfig(upscaler="waifu2x", backend="torch")
HERE = ("lanczos", "waifu2x")  # spandrel needs torchvision; see test_upscale_spandrel.py


@pytest.fixture
def weights(realdata: Path) -> NetworkFiles:
    stem = realdata / "assets/waifu2x_upconv7_anime_scale2x"
    return NetworkFiles(stem.with_suffix(".param"), stem.with_suffix(".bin"))


def drawing(realdata: Path, number: int, side: int) -> np.ndarray:
    path = sorted((realdata / "anime_illustrations").rglob("ftla_*"))[number]
    image = decode(path.read_bytes()).image
    square = min(image.shape[:2])
    return resample(image[:square, :square], side)


def double(image: np.ndarray, weights: NetworkFiles, tile: int) -> np.ndarray:
    return enlarge([image], load_network(weights, "torch"), tile)[0]


@pytest.mark.parametrize("upscaler", HERE)
@pytest.mark.parametrize(("side", "target"), [(40, 128), (100, 128), (64, 128), (128, 128), (200, 128)])
def test_every_upscaler_meets_the_target_exactly_and_repeats_itself(
    realdata: Path, weights: NetworkFiles, upscaler: str, side: int, target: int
) -> None:
    image, config = drawing(realdata, 0, side), UpscaleConfig(upscaler=upscaler, backend="torch")
    found = upscale(image, target, config, (weights,))
    assert found.shape == (target, target, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, upscale(image, target, config, (weights,)))
    if side >= target:  # never enlarged: the same as without a network
        np.testing.assert_array_equal(found, resample(image, target))


def test_the_upscalers_that_are_tested_and_spandrel_are_all_there_are() -> None:
    assert {*HERE, "spandrel"} == set(UPSCALERS)


def test_faces_together_are_what_they_are_alone_in_any_order(realdata: Path, weights: NetworkFiles) -> None:
    images = [drawing(realdata, number, side) for number, side in ((1, 48), (2, 90), (3, 48), (4, 64), (5, 30))]
    together = bring_to_size(images, 64, WAIFU2X, (weights,))
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(found, upscale(image, 64, WAIFU2X, (weights,)))
    backwards = bring_to_size(images[::-1], 64, WAIFU2X, (weights,))
    np.testing.assert_array_equal(np.stack(backwards), np.stack(together[::-1]))


@pytest.mark.parametrize("tile", [16, 24, 50])
def test_tiles_leave_no_seam(realdata: Path, weights: NetworkFiles, tile: int) -> None:
    image = np.ascontiguousarray(drawing(realdata, 3, 90)[:70])
    whole, tiled = double(image, weights, 1024), double(image, weights, tile)
    assert whole.shape == (140, 180, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_the_network_is_aligned_with_its_input_to_the_pixel(realdata: Path, weights: NetworkFiles) -> None:
    image = drawing(realdata, 5, 96)
    found = double(resample(image, 48), weights, 128).astype(float)
    error = {
        (dy, dx): np.square(np.roll(found, (dy, dx), (0, 1)) - image)[8:-8, 8:-8].mean()
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert min(error, key=lambda shift: error[shift]) == (0, 0)


def test_waifu2x_restores_real_drawings_better_than_lanczos(realdata: Path, weights: NetworkFiles) -> None:
    def ratio(found: np.ndarray, image: np.ndarray) -> float:
        return float(10 * np.log10(255**2 / np.square(found.astype(float) - image).mean()))

    gains = []
    for number in range(0, 30, 5):
        image = drawing(realdata, number, 256)
        small = resample(image, 128)
        better = upscale(small, 256, WAIFU2X, (weights,))
        gains.append(ratio(better, image) - ratio(resample(small, 256), image))
    assert np.mean(gains) > 3  # dB; measured 4.5 over 16 pictures
    assert min(gains) > 0


def test_flat_colours_come_back_as_they_went_in(weights: NetworkFiles) -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (200, 120, 40)):
        image = np.full((20, 20, 3), colour, np.uint8)
        assert np.abs(double(image, weights, 64).astype(int) - colour).max() <= 3


def test_noise_is_removed_once_and_further_doublings_only_enlarge(tmp_path: Path) -> None:
    config = UpscaleConfig(upscaler="waifu2x", model="cunet", noise=1, networks=str(tmp_path), backend="torch")
    cunet(2, seed=1).write(tmp_path, "noise1_scale2.0x_model")
    upconv7(seed=2).write(tmp_path, "scale2.0x_model")
    networks = files_in(tmp_path, config)
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    first, further = (load_network(files, "torch") for files in networks if isinstance(files, NetworkFiles))
    once = enlarge([image], first, config.tile)[0]
    np.testing.assert_array_equal(upscale(image, 40, config, networks), once)
    np.testing.assert_array_equal(upscale(image, 80, config, networks), enlarge([once], further, config.tile)[0])


def test_a_network_that_does_not_enlarge_is_refused(tmp_path: Path) -> None:
    files = cunet(1).write(tmp_path, "noise0_model")
    with pytest.raises(ValueError, match=r"noise0_model\.param does not enlarge"):
        upscale(np.zeros((8, 8, 3), np.uint8), 16, WAIFU2X, (files,))


@pytest.mark.parametrize(
    ("side", "config", "words"),
    [
        (256, {}, ""),
        (512, {}, "shrunk x0.5: lanczos"),
        (300, {"filter": "area"}, "shrunk x0.853: area"),
        (100, {}, "enlarged x2.56: lanczos"),
        (200, {"upscaler": "waifu2x"}, "enlarged x1.28: waifu2x upconv7_anime scale2"),
        (128, {"upscaler": "waifu2x"}, "enlarged x2: waifu2x upconv7_anime scale2"),
        (
            100,
            {"upscaler": "waifu2x", "model": "cunet", "noise": 2, "networks": "n"},
            "enlarged x2.56: waifu2x cunet noise2 scale4",
        ),
        (100, {"upscaler": "spandrel", "networks": "/my/net.pth"}, "enlarged x2.56: spandrel net.pth"),
    ],
)
def test_a_faces_history_says_what_happened_to_it(side: int, config: dict[str, str], words: str) -> None:
    assert history(side, 256, UpscaleConfig.model_validate(config)) == words


def test_networks_that_are_no_assets_must_be_named() -> None:
    for odd in ({"model": "cunet"}, {"noise": 1}, {"model": "upconv7_photo"}):
        with pytest.raises(ValidationError, match=r"is no asset: name a folder .*scale2\.0x_model"):
            UpscaleConfig.model_validate({"upscaler": "waifu2x", **odd})
        UpscaleConfig.model_validate({"upscaler": "waifu2x", "networks": "models-cunet", **odd})
    with pytest.raises(ValidationError, match="spandrel runs a network of yours"):
        UpscaleConfig(upscaler="spandrel")


def test_the_backend_is_settled_where_a_network_runs_and_only_there() -> None:
    assert UpscaleConfig().settled().backend == "auto"
    assert UpscaleConfig(upscaler="waifu2x").settled().backend == choose_backend("auto") != "auto"
    assert WAIFU2X.settled() == WAIFU2X


def test_a_backend_that_the_machine_has_not_got_is_refused_with_what_it_has() -> None:
    try:
        choose_backend("cuda")
    except ValueError as error:
        text = str(error)
    else:
        pytest.skip("there is a GPU here")
    assert text.startswith("upscale.backend cuda: torch sees no GPU; or choose one of")
    assert text.endswith("torch")


def test_files_of_other_networks_are_refused_by_name(realdata: Path, weights: NetworkFiles, tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    odd = tmp_path / "odd.bin"
    shutil.copy(weights.weights, odd)
    with odd.open("r+b") as opened:
        opened.truncate(100_000)
    with pytest.raises(ValueError, match=r"odd\.bin does not fit .*: layer conv4_layer .* cut off"):
        upscale(image, 16, WAIFU2X, (NetworkFiles(weights.param, odd),))
