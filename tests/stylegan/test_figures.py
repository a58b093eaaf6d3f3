from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stylegan.architectures import Generator, build_networks
from stylegan.canvas import Image, label_grid, resize_tile, tile_size, to_image
from stylegan.config import StyleGAN2Config, TrainConfig
from stylegan.figures import FIGURES, FigureConfig, classes_for, make_faces, sample_grid, write_image
from stylegan.latents import looping_walk, seed_latents, slerp
from stylegan.model import Model


def tiny_model(resolution: int) -> Model:
    """A random network whose mean face differs from its samples."""
    torch.manual_seed(resolution)
    network = StyleGAN2Config(z_dim=8, w_dim=8, mapping_layers=2, channel_base=16 * resolution, channel_max=8)
    config = TrainConfig(resolution=resolution, network=network)
    G, _ = build_networks(network, resolution)
    assert isinstance(G, Generator)
    G.mapping.w_avg.normal_()
    return Model(config, G)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(64)


def tiles(figure: Image, grid_shape: tuple[int, int], side: int) -> np.ndarray:
    """The tiles of a labelled grid, [rows, columns, side, side, 3]: they end 10 px from the lower right corner."""
    rows, columns = grid_shape
    y0, x0 = (figure.shape[i] - 10 - n * (side + 2) + 2 for i, n in ((0, rows), (1, columns)))
    return np.stack(
        [
            np.stack(
                [
                    figure[y0 + r * (side + 2) : y0 + r * (side + 2) + side, x0 + c * (side + 2) :][:, :side]
                    for c in range(columns)
                ]
            )
            for r in range(rows)
        ]
    )


def assert_same_face(a: Image, b: Image) -> None:
    """Equal but for the last bit of a float: a convolution adds up in another order in another batch."""
    assert np.abs(a.astype(int) - b).max() <= 1


def face(model: Model, seed: int, psi: float) -> Image:
    return make_faces(model, model.map(seed_latents([seed], model.z_dim), None, psi), "const", 8)[0]


@pytest.mark.parametrize("resolution", [16, 32, 128])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_an_image_at_every_resolution(name: str, resolution: int) -> None:
    config = FigureConfig(tile=64, seeds=(1, 2, 3), top_seeds=(4, 5), psis=(1, 0), steps=2)
    figure = FIGURES[name](tiny_model(resolution), config)
    assert figure.dtype == np.uint8
    assert figure.shape[2] == 3
    assert figure.shape[0] > 64


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_does_not_depend_on_the_batch_size(name: str, model: Model) -> None:
    config = FigureConfig(tile=64, seeds=(1, 2, 3), top_seeds=(4, 5), psis=(1, 0.5), steps=3)
    one = FIGURES[name](model, config.model_copy(update={"batch_size": 1}))
    assert_same_face(one, FIGURES[name](model, config))


def test_sample_grid_shows_consecutive_seeds_row_by_row(model: Model) -> None:
    found = tiles(FIGURES["sample-grid"](model, FigureConfig(tile=64, seed=5, columns=3, rows=2, psi=0.7)), (2, 3), 64)
    for i in range(6):
        assert_same_face(found[i // 3, i % 3], face(model, 5 + i, 0.7))


def test_truncation_grid_applies_each_psi_and_psi_0_is_one_face(model: Model) -> None:
    psis = (1, 0.5, 0, -0.5, -1)
    found = tiles(FIGURES["truncation-grid"](model, FigureConfig(tile=64, seeds=(7, 8, 9), psis=psis)), (3, 5), 64)
    assert_same_face(found[1, 0], face(model, 8, 1))
    assert_same_face(found[1, 3], face(model, 8, -0.5))
    assert_same_face(found[0, 2], found[1, 2])
    assert_same_face(found[0, 2], found[2, 2])
    assert (found[0, 0] != found[1, 0]).any()
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 4)):
        assert (found[0, a] != found[0, b]).any()


def test_truncation_grid_shows_the_published_seeds_by_default() -> None:
    model = tiny_model(16)
    found = tiles(FIGURES["truncation-grid"](model, FigureConfig()), (10, 8), 128)
    assert_same_face(found[0, 0], resize_tile(face(model, 91, 1), 128))
    assert_same_face(found[9, 7], resize_tile(face(model, 396, -1), 128))


def test_style_mixing_takes_coarse_layers_from_the_left_and_fine_ones_from_the_top(model: Model) -> None:
    config = FigureConfig(tile=64, seeds=(1, 2), top_seeds=(3, 4, 5), psi=0.8, crossover=4)
    found = tiles(FIGURES["style-mixing-grid"](model, config), (3, 4), 64)
    left, top = (model.map(seed_latents([seed], 8), None, 0.8) for seed in (2, 5))
    mixed = torch.cat([left[:, :4], top[:, 4:]], 1)
    assert_same_face(found[2, 3], make_faces(model, mixed, "const", 1)[0])
    assert_same_face(found[2, 0], face(model, 2, 0.8))
    assert_same_face(found[0, 3], face(model, 5, 0.8))
    assert (found[0, 0] == 255).all()


def test_style_mixing_at_psi_0_mixes_nothing(model: Model) -> None:
    found = tiles(
        FIGURES["style-mixing-grid"](model, FigureConfig(tile=64, seeds=(1, 2), top_seeds=(3,), psi=0)), (3, 2), 64
    )
    assert_same_face(found[1, 1], found[2, 0])


@pytest.mark.parametrize(("row", "layers"), [(1, slice(0, 4)), (2, slice(4, 8)), (3, slice(8, 10))])
def test_style_mixing_groups_copy_their_layers_from_the_top(model: Model, row: int, layers: slice) -> None:
    config = FigureConfig(tile=64, seeds=(1, 2, 3), top_seeds=(4, 5), psi=1)
    found = tiles(FIGURES["style-mixing-groups"](model, config), (4, 3), 64)
    mixed, top = model.map(seed_latents([row], 8)), model.map(seed_latents([5], 8))
    mixed[:, layers] = top[:, layers]
    assert_same_face(found[row, 2], make_faces(model, mixed, "const", 1)[0])


def test_crossover_beyond_the_models_layers_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="crossover is 6, the model has layers 0-5"):
        FIGURES["style-mixing-grid"](tiny_model(16), FigureConfig(tile=64, crossover=6))


def test_interpolation_begins_and_ends_at_the_seeds_faces(model: Model) -> None:
    found = tiles(FIGURES["interpolation"](model, FigureConfig(tile=64, seeds=(1, 2), steps=4, psi=0.7)), (2, 4), 64)
    for row in found:
        assert_same_face(row[0], face(model, 1, 0.7))
        assert_same_face(row[-1], face(model, 2, 0.7))
    assert (found[0, 1] != found[1, 1]).any()


def test_interpolation_of_one_seed_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="needs two seeds"):
        FIGURES["interpolation"](model, FigureConfig(tile=64, seeds=(1,)))


def test_slerp_agrees_with_the_reference_up_to_length(fixtures: Path) -> None:
    reference = np.load(fixtures / "metrics_formulae.npz")
    for a, b, t, expected in zip(
        *(torch.from_numpy(reference[f"slerp{k}"]) for k in ("_a", "_b", "_t", "")), strict=True
    ):
        found = slerp(a / a.norm(), b / b.norm(), t)[0]
        torch.testing.assert_close(found, expected.to(found), atol=1e-5, rtol=0)


def test_slerp_of_equal_latents_stays_there() -> None:
    z = torch.arange(1.0, 5.0)
    torch.testing.assert_close(slerp(z, z, torch.tensor([0.0, 0.3, 1.0])), z.expand(3, -1))


def test_seed_latents_are_those_of_numpys_random_state() -> None:
    expected = np.random.RandomState(91).randn(1, 512).astype(np.float32)
    np.testing.assert_array_equal(seed_latents([91], 512), expected)


def test_looping_walk_closes_and_has_unit_length() -> None:
    z = looping_walk(seed=404, num_frames=200, num_walkers=3, z_dim=64, smoothing=10)
    torch.testing.assert_close(z.square().mean(2), torch.ones(200, 3))
    steps = (z - z.roll(1, dims=0)).norm(dim=2)  # the first one leads from the last frame to the first
    assert (steps[0] < 1.6 * steps[1:].mean(0)).all()
    assert steps[1:].max() < 3


def test_looping_walk_is_scipys_gaussian_filter_with_wrap() -> None:
    from scipy.ndimage import gaussian_filter1d

    noise = np.random.RandomState(3).randn(60, 2 * 16)
    expected = gaussian_filter1d(noise, 4, axis=0, mode="wrap", truncate=12).reshape(60, 2, 16)
    expected /= np.sqrt(np.mean(expected**2, axis=2, keepdims=True))
    np.testing.assert_allclose(looping_walk(3, 60, 2, 16, 4), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("resolution", "side"), [(16, 128), (48, 144), (64, 128), (128, 128), (256, 256), (512, 256), (1024, 256)]
)
def test_tiles_are_whole_multiples_or_parts(resolution: int, side: int) -> None:
    assert tile_size(resolution) == side


def test_images_of_a_model_become_pixels_as_the_metrics_count_them() -> None:
    tensor = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(3, 1, 5)
    np.testing.assert_array_equal(to_image(tensor)[0, :, 0], [0, 0, 128, 255, 255])


def test_labels_never_cover_tiles_and_long_titles_wrap() -> None:
    tile = np.full((64, 64, 3), 90, np.uint8)
    figure = label_grid([[tile, tile]], "a long title " * 6, top=["psi -0.25", "psi 0.25"], left=["seed 123456789"])
    found = tiles(figure, (1, 2), 64)
    assert (found == 90).all()
    assert (figure[:10] == 255).all()
    assert (figure[:, -6:] == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_written_image_reads_back_and_leaves_nothing_else(tmp_path: Path, suffix: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = write_image(tmp_path / "new" / f"figure{suffix}", image)
    np.testing.assert_array_equal(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), image)
    assert list(path.parent.iterdir()) == [path]


def test_unknown_picture_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"figure\.tga: a picture is written as \.png"):
        write_image(tmp_path / "figure.tga", np.zeros((2, 2, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_figures_of_a_model_with_classes_show_them_in_turn_or_the_one_asked_for() -> None:
    network = {"num_labels": 3, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
    config = TrainConfig.model_validate({"resolution": 16, "network": network})
    model = Model(config, build_networks(config.network, 16, seed=2).G)
    turn, one = (classes_for(model, 4, label) for label in (None, 2))
    assert turn is not None
    assert one is not None
    assert (turn.tolist(), one.tolist()) == ([0, 1, 2, 0], [2, 2, 2, 2])
    pictures = [sample_grid(model, FigureConfig(columns=2, rows=1, label=label)) for label in (0, 1)]
    assert not np.array_equal(*pictures)
