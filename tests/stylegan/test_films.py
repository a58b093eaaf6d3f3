from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from stylegan.architectures import Generator, build_networks
from stylegan.canvas import Image
from stylegan.config import StyleGAN2Config, TrainConfig
from stylegan.films import FILMS, FilmConfig, FilmSubject, make_film, montage_grids, sample_paths, write_film
from stylegan.model import Model

QUICK = {"preset": "ultrafast", "crf": 12, "threads": 1}


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    network = StyleGAN2Config(z_dim=16, w_dim=16, mapping_layers=1, channel_base=128, channel_max=8)
    G, _ = build_networks(network, 16)
    assert isinstance(G, Generator)
    G.mapping.w_avg.normal_()
    return Model(TrainConfig(resolution=16, network=network), G)


def read_film(path: Path) -> tuple[dict[str, object], np.ndarray]:
    """What the file says of itself, and its frames [T, H, W, 3]."""
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def flat(colours: list[tuple[int, int, int]], width: int, height: int) -> Iterator[Image]:
    return (np.full((height, width, 3), colour, np.uint8) for colour in colours)


def test_film_is_yuv420p_with_its_frames_in_order_and_in_colour(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)]
    path = write_film(tmp_path / "film.mp4", flat(colours, 64, 48), (64, 48), 25, FilmConfig(**QUICK))
    facts, frames = read_film(path)
    assert str(facts["pix_fmt"]).startswith("yuv420p(tv, bt709")
    assert (facts["codec"], facts["fps"], facts["size"]) == ("h264", 25, (64, 48))
    np.testing.assert_allclose(frames.mean((1, 2)), colours, atol=4)


def test_film_can_be_played_while_it_loads(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mp4", flat([(1, 2, 3)] * 5, 16, 16), (16, 16), 5).read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_grow_by_their_last_pixels(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", flat([(250, 250, 250)] * 2, 33, 17), (33, 17), 5, FilmConfig(**QUICK))
    facts, frames = read_film(path)
    assert facts["size"] == (34, 18)
    assert frames.min() > 240


def test_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    a, b = (write_film(tmp_path / name, flat([(9, 99, 199)] * 6, 32, 32), (32, 32), 6) for name in ("a.mp4", "b.mp4"))
    assert a.read_bytes() == b.read_bytes()


def test_frames_are_streamed_and_not_collected(tmp_path: Path) -> None:
    alive, most = 0, 0

    class Frame(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= self.base is None

    def frames() -> Iterator[Image]:
        nonlocal alive, most
        for _ in range(200):
            frame = np.ndarray.__new__(Frame, (64, 64, 3), np.uint8)
            frame[:] = 7
            alive += 1
            most = max(most, alive)
            yield frame

    write_film(tmp_path / "film.mp4", frames(), (64, 64), 20, FilmConfig(**QUICK))
    assert most <= 3


def test_failing_encoder_is_quoted_and_leaves_no_file(tmp_path: Path) -> None:
    too_large = (20000, 16)  # beyond the widest picture of H.264
    with pytest.raises(OSError, match=r"film\.mp4 was not written: ffmpeg ended with \d+ .*it said: \S.*x264"):
        write_film(tmp_path / "film.mp4", flat([(0, 0, 0)] * 40, *too_large), too_large, 5, FilmConfig(**QUICK))
    assert not list(tmp_path.iterdir())


def test_frame_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a frame is uint8 \(8, 16, 3\), expected uint8 \(16, 16, 3\)"):
        write_film(tmp_path / "film.mp4", flat([(0, 0, 0)], 16, 8), (16, 16), 5)
    assert not list(tmp_path.iterdir())


def test_film_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a film needs a frame"):
        write_film(tmp_path / "film.mp4", iter(()), (16, 16), 5)
    assert not list(tmp_path.iterdir())


def test_an_older_film_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", flat([(5, 5, 5)], 16, 16), (16, 16), 5)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a frame is"):
        write_film(path, flat([(0, 0, 0)], 16, 8), (16, 16), 5)
    assert path.read_bytes() == before


def test_random_walk_has_its_length_and_its_end_joins_its_beginning(tmp_path: Path, model: Model) -> None:
    config = FilmConfig(seconds=4, fps=20, smoothing_seconds=0.6, psi=1, tile=64, **QUICK)
    facts, frames = read_film(make_film("random-walk", tmp_path / "walk.mp4", FilmSubject(model), config))
    assert len(frames) == 80
    assert (facts["fps"], facts["size"]) == (20, (128, 128))
    small = frames.astype(float)
    steps = np.abs(small - np.roll(small, 1, axis=0)).mean((1, 2, 3))  # steps[0]: from the last frame to the first
    assert steps[0] < 2 * np.median(steps[1:])
    assert np.abs(small[0] - small[40]).mean() > 3 * steps[0]


def test_random_walk_at_psi_0_is_one_picture(model: Model) -> None:
    frames = list(FILMS["random-walk"](FilmSubject(model), FilmConfig(seconds=1, fps=10, psi=0)).images)
    assert len(frames) == 10
    assert all((frame == frames[0]).all() for frame in frames)
    side = frames[0].shape[0] // 2
    np.testing.assert_array_equal(frames[0][:side, :side], frames[0][side:, side:])


def test_random_walk_does_not_depend_on_the_batch_size(model: Model) -> None:
    config = FilmConfig(seconds=1, fps=5, columns=3, rows=1, tile=16)
    ones, sevens = (
        list(FILMS["random-walk"](FilmSubject(model), config.model_copy(update={"batch_size": size})).images)
        for size in (1, 7)
    )
    assert len(ones) == len(sevens) == 5
    assert np.abs(np.stack(ones).astype(int) - np.stack(sevens)).max() <= 1


def test_random_walk_moves_less_at_a_smaller_psi(model: Model) -> None:
    def spread(psi: float) -> float:
        config = FilmConfig(seconds=2, fps=10, psi=psi, columns=1, rows=1, tile=16)
        return float(np.stack(list(FILMS["random-walk"](FilmSubject(model), config).images)).std(0).mean())

    assert spread(0.3) < 0.6 * spread(1.0)


def test_montage_is_in_numeric_order_and_brings_sizes_to_one_with_nearest(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.mkdir()
    rng = np.random.default_rng(0)
    grids = {}
    for name, side in (("fakes-9.500.png", 8), ("fakes-10.000.png", 16), ("fakes-100.000.png", 32)):
        grids[name] = rng.integers(0, 256, (side, side * 2, 3), dtype=np.uint8)
        cv2.imwrite(str(samples / name), grids[name][:, :, ::-1])
    (samples / "reals.png").write_bytes(b"not a sample of the generator")
    config = FilmConfig(captions=False, hold_seconds=0.2, montage_fps=10)
    film = FILMS["training-montage"](FilmSubject(runs=(tmp_path,)), config)
    frames = list(film.images)
    assert film.size == (512, 256)
    assert (film.num_frames, len(frames)) == (5, 5)
    for frame, grid in zip(
        frames, [*grids.values(), grids["fakes-100.000.png"], grids["fakes-100.000.png"]], strict=True
    ):
        times = 256 // len(grid)
        np.testing.assert_array_equal(frame, grid.repeat(times, 0).repeat(times, 1))


def test_montage_counts_kimg_through_trainings_that_went_on(tmp_path: Path) -> None:
    for run, kimgs in (("first", (0, 8, 24)), ("second", (0, 4))):
        (tmp_path / run / "samples").mkdir(parents=True)
        for kimg in kimgs:
            cv2.imwrite(str(tmp_path / run / f"samples/fakes-{kimg:06d}.000.png"), np.zeros((8, 16, 3), np.uint8))
    grids = montage_grids((tmp_path / "first", tmp_path / "second"))
    assert [(kimg, path.parts[-3], path.name) for kimg, path in grids.items()] == [
        (0, "first", "fakes-000000.000.png"),
        (8, "first", "fakes-000008.000.png"),
        (24, "first", "fakes-000024.000.png"),
        (28, "second", "fakes-000004.000.png"),
    ]


def test_montage_film_holds_every_grid_and_names_kimg_below_it(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"samples/fakes-{i:06d}.000.png"), np.full((240, 480, 3), 20 * i, np.uint8))
    config = FilmConfig(hold_seconds=0.5, montage_fps=10, **QUICK)
    facts, frames = read_film(make_film("training-montage", tmp_path / "m.mp4", FilmSubject(runs=(tmp_path,)), config))
    assert len(frames) == 12 + 5
    assert frames.shape[1] > 240
    np.testing.assert_allclose(frames[:12, 40:200].mean((1, 2, 3)), np.arange(12) * 20, atol=3)
    assert np.abs(frames[1, 241:].astype(int) - frames[11, 241:]).max() > 60  # the caption changes
    assert facts["fps"] == 10


def test_samples_are_sorted_by_number_not_by_name(tmp_path: Path) -> None:
    for name in ("fakes-9.png", "fakes-10.png", "fakes-000100.000.png", "fakes-2.5.jpg", "fakes-x.png", "reals.png"):
        (tmp_path / name).touch()
    assert list(sample_paths(tmp_path)) == ["2.5", "9", "10", "000100.000"]


def test_films_say_what_they_need(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the run's folder"):
        make_film("training-montage", tmp_path / "a.mp4", FilmSubject())
    with pytest.raises(ValueError, match="holds no fakes-KIMG"):
        make_film("training-montage", tmp_path / "a.mp4", FilmSubject(runs=(tmp_path,)))
    with pytest.raises(ValueError, match="give a checkpoint"):
        make_film("random-walk", tmp_path / "a.mp4", FilmSubject())
    with pytest.raises(ValueError, match="no film is called 'walk': choose one of training-montage, random-walk"):
        make_film("walk", tmp_path / "a.mp4", FilmSubject())


def test_the_encoder_is_the_one_that_came_with_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = write_film(tmp_path / "film.mp4", flat([(5, 5, 5)] * 2, 16, 16), (16, 16), 5)
    words = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], stderr=subprocess.PIPE, text=True).stderr
    assert "Video: h264" in words
