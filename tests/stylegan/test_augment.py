from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.augment import Augmentation, augment, augmentation, draw_augmentation, next_p
from stylegan.augment_draws import STEPS, Numbers, draw_numbers, spare
from stylegan.augment_filters import band_filters, resample, resampling_taps
from stylegan.augment_names import SETS, TRANSFORMS, transform_names
from stylegan.config import AugmentConfig
from stylegan.random import generator

PERCENTILES = (0.1, 0.3, 0.5, 0.75, 0.9)
PIPES = {"blit": "blit", "geom": "geometry", "color": "colour", "bg": "bg", "bgc": "bgc"}
ALL = tuple(TRANSFORMS)


@pytest.fixture(scope="module")
def percentile(fixtures: Path) -> Mapping[str, np.ndarray]:
    return dict(np.load(fixtures / "ada_percentile.npz"))


def same(found: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def percentile_numbers(transforms: tuple[str, ...], q: float, count: int = 2) -> Numbers:
    """The numbers of images of which all are transformed, each draw at the fixture's percentile.

    Its normal draws are erfinv(2 q - 1), without the square root of two; noise is erfinv(q), and the second rotation
    does nothing.
    """
    normal = torch.erfinv(torch.tensor(2 * q - 1)).item()
    values = {name: q if step.kind == "uniform" else normal for name, step in STEPS.items()}
    values |= {"rotate_after": 0.5, "noise": torch.erfinv(torch.tensor(q)).item()}
    chosen = {name: step for name, step in STEPS.items() if step.transform in transforms}
    return {name: torch.full((count, step.columns), values[name]) for name, step in chosen.items()}


def fixture_noise() -> Tensor:
    """The noise field of ada_percentile.npz: seed 1, after the draws of strength and lot."""
    torch.manual_seed(1)
    torch.randn(2, 1, 1, 1)
    torch.rand(2, 1, 1, 1)
    return torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("transform", ALL)
def test_every_transformation_equals_the_reference(transform: str, percentile: Mapping[str, np.ndarray]) -> None:
    field = fixture_noise() if transform == "noise" else None
    for q in PERCENTILES:
        moves = augmentation(percentile_numbers((transform,), q), 32, field)
        same(augment(torch.from_numpy(percentile["x"]), moves), percentile[f"{transform}_{q}"])
        if f"{transform}_{q}_gray" in percentile:
            same(augment(torch.from_numpy(percentile["x_gray"]), moves), percentile[f"{transform}_{q}_gray"])


@pytest.mark.parametrize("pipe", PIPES)
def test_transformations_compose_as_in_the_reference(pipe: str, percentile: Mapping[str, np.ndarray]) -> None:
    for q in (0.2, 0.4, 0.6, 0.8):
        moves = augmentation(percentile_numbers(transform_names([PIPES[pipe]]), q), 32)
        same(augment(torch.from_numpy(percentile["x"]), moves), percentile[f"pipe_{pipe}_{q}"])


@pytest.mark.parametrize("pipe", PIPES)
def test_gradients_of_both_orders_equal_the_reference(pipe: str, percentile: Mapping[str, np.ndarray]) -> None:
    moves = augmentation(percentile_numbers(transform_names([PIPES[pipe]]), 0.6), 32)
    images = torch.from_numpy(percentile["x"]).requires_grad_()
    (first,) = torch.autograd.grad(augment(images, moves).square().sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), images)
    same(first.detach(), percentile[f"pipe_{pipe}_0.6_gx"])
    expected = torch.from_numpy(percentile[f"pipe_{pipe}_0.6_g2"])
    torch.testing.assert_close(second, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().mean()))


def test_wavelets_equal_the_reference(percentile: Mapping[str, np.ndarray]) -> None:
    same(resampling_taps(), percentile["Hz_geom"])
    same(band_filters(), percentile["Hz_fbank"])


@pytest.mark.parametrize("name", ["bgc", "bgcfnc"])
def test_recorded_draws_give_the_recorded_images(name: str, fixtures: Path) -> None:
    data = np.load(fixtures / "ada_recorded_draws.npz")
    draws = (torch.from_numpy(data[key]) for key in data.files if key.startswith(f"{name}_draw"))
    numbers, lots, field = {}, {}, None
    for step in (s for s in STEPS if STEPS[s].transform in transform_names([name])):
        pair = [next(draws).reshape(8, -1), next(draws).reshape(8, -1)]
        numbers[step], lots[step] = reversed(pair) if step == "cutout" else pair
        field = next(draws) if step == "noise" else field
    assert next(draws, None) is None
    moves = augmentation(spare(numbers, lots, torch.tensor(0.6)), 32, field)
    same(augment(torch.from_numpy(data["x"]), moves), data[f"{name}_y"])


def test_p_follows_the_reference(fixtures: Path) -> None:
    data = np.load(fixtures / "ada_controller.npz")
    config = AugmentConfig(mode="adaptive", target=data["target"], kimg=data["ada_kimg"], interval=data["interval"])
    p, found = torch.zeros([]), []
    for signs in data["signs"].reshape(50, -1):
        p = next_p(p, torch.tensor(signs.mean(), dtype=torch.float32), config, int(data["batch"]))
        found.append(float(p))
    assert found == pytest.approx(data["p"].tolist(), abs=1e-7)


def drawn(p: float, shape: tuple[int, int, int, int], transforms: tuple[str, ...] = ALL) -> Augmentation:
    return draw_augmentation(transforms, torch.tensor(p), shape, generator(7, "augment"))


def noise_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator(7, "images")) * 2 - 1


def test_parts_of_a_batch_equal_the_whole() -> None:
    images, moves = noise_images(8, 3, 16, 16), drawn(0.8, (8, 3, 16, 16))
    whole = augment(images, moves)
    for rows in (torch.tensor([0, 4]), torch.tensor([7, 1, 2])):
        torch.testing.assert_close(augment(images[rows], moves.part(rows)), whole[rows], rtol=0, atol=1e-6)


def test_p_of_zero_leaves_images_as_they_are() -> None:
    # Not bit for bit: doubled and halved again by the orthogonal wavelet, a pixel comes back to its last digits.
    images = noise_images(4, 3, 32, 32)
    torch.testing.assert_close(augment(images, drawn(0.0, (4, 3, 32, 32))), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_goes_through_the_whole_pipeline(channels: int) -> None:
    images = noise_images(2, channels, 8, 8).requires_grad_()
    result = augment(images, drawn(1.5, (2, channels, 8, 8)))
    (gradient,) = torch.autograd.grad(result.sum(), images)
    assert result.shape == images.shape
    assert torch.isfinite(result).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_leaves_opacity_alone(channels: int) -> None:
    images = noise_images(4, channels + 1, 16, 16)
    moves = drawn(1.0, (4, channels + 1, 16, 16), ("colour",))
    result = augment(images, moves)
    assert torch.equal(result[:, channels:], images[:, channels:])
    assert torch.equal(result[:, :channels], augment(images[:, :channels], moves))


def test_an_image_goes_on_as_its_reflection_for_ever() -> None:
    images = noise_images(3, 1, 16, 16)
    inverse = torch.eye(3).repeat(3, 1, 1)
    inverse[:, 0, 2] = torch.tensor([15.0, 30.0, -300.0])  # half a period, one, and ten
    moved = resample(images, inverse)
    torch.testing.assert_close(moved[0], images[0].flip(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[1:], images[1:], rtol=0, atol=1e-5)


def test_an_image_is_spared_all_rotation_with_probability_one_minus_p() -> None:
    numbers, lots = draw_numbers(("rotate",), 20000, generator(7, "augment"), torch.device("cpu"))
    turns = spare(numbers, lots, torch.tensor(0.3))
    spared = (turns["rotate"] == 0.5) & (turns["rotate_after"] == 0.5)
    assert float(spared.float().mean()) == pytest.approx(0.7, abs=0.01)  # three standard errors


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache.")
def test_another_augmentation_needs_no_other_graph() -> None:
    images = noise_images(2, 3, 16, 16)
    torch.compiler.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(augment, backend="eager", fullgraph=True)
        for p in (0.0, 1.0):
            moves = drawn(p, (2, 3, 16, 16))
            torch.testing.assert_close(compiled(images, moves), augment(images, moves), rtol=0, atol=1e-6)


def test_groups_and_sets_stand_for_their_transformations() -> None:
    assert transform_names(["geometry", "xflip"]) == ("xflip", "scale", "rotate", "aniso", "xfrac")
    assert transform_names(["bgcfn"]) == tuple(t for t in ALL if t != "cutout")
    assert transform_names(["bgcfnc"]) == transform_names([*SETS, *TRANSFORMS.values()]) == ALL


def test_an_unknown_transformation_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"'blur'.*xflip.*geometry.*bgcfnc"):
        transform_names(["xflip", "blur"])


def test_images_too_small_for_the_filters_are_refused() -> None:
    with pytest.raises(ValueError, match="4 x 4 px"):
        augment(noise_images(2, 3, 4, 4), Augmentation())


def test_what_is_not_asked_for_does_not_happen() -> None:
    moves = drawn(1.0, (4, 3, 16, 16), ("hue",))
    assert moves.colour is not None
    assert {name for name, value in moves._asdict().items() if value is not None} == {"colour"}
    images = noise_images(4, 3, 16, 16)
    torch.testing.assert_close(augment(images, moves).mean(dim=1), images.mean(dim=1), rtol=0, atol=1e-6)
