"""Faces with weights: shown by their shares, in an order that only the seed and the images seen decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from stylegan.config import TrainConfig
from stylegan.faces import Faces
from stylegan.loader import Loader
from stylegan.phases import batch_parts, rank_rows
from stylegan.random import Shares, batch_indices, data_order, epoch_offset
from stylegan.ranks import Ranks
from tests.stylegan.conftest import write_shards

CPU = torch.device("cpu")
WEIGHTS = np.random.default_rng(0).choice([0.25, 1.0, 1.7, 6.0], 50)


def shown(weights: np.ndarray, epochs: int, seed: int = 0) -> np.ndarray:
    """How often every face has come after so many epochs."""
    count = len(weights)
    order = batch_indices(seed, 0, epochs * count, count, Shares(weights))
    return np.bincount(order.numpy(), minlength=count)


@pytest.fixture(scope="module")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of 42 training faces, whose weights are 1, 2 and 3 in turn."""
    folder = write_shards(tmp_path_factory.mktemp("weighted") / "faces", 48, 16)
    index = pandas.read_parquet(folder / "index.parquet")
    index["weight"] = [1.0 + i % 3 for i in range(len(index))]
    index.to_parquet(folder / "index.parquet")
    return folder


def config(**values: object) -> TrainConfig:
    asked = {"resolution": 16, "batch": 8, "seed": 5, "cache": "none", "mirror": False}
    return TrainConfig.model_validate(asked | values)


def test_an_epoch_shows_every_face_as_often_as_its_share_rounded_down_or_up() -> None:
    shares = WEIGHTS / WEIGHTS.mean()
    for epoch in range(30):
        order = data_order(0, epoch, len(WEIGHTS), Shares(WEIGHTS)).numpy()
        counts = np.bincount(order, minlength=len(WEIGHTS))
        assert counts.sum() == len(WEIGHTS)
        assert (counts >= np.floor(shares)).all()
        assert (counts <= np.ceil(shares)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_after_many_epochs_every_face_has_come_as_often_as_its_weight_asks(seed: int) -> None:
    epochs = 400
    expected = epochs * WEIGHTS / WEIGHTS.mean()
    assert np.abs(shown(WEIGHTS, epochs, seed) - expected).max() < 4


def test_equal_weights_of_any_size_give_the_order_without_weights() -> None:
    for weight in (1.0, 0.3, 1000.0):
        order = batch_indices(7, 0, 3 * 37, 37, Shares(np.full(37, weight)))
        assert torch.equal(order, batch_indices(7, 0, 3 * 37, 37))


def test_the_order_without_weights_is_pinned() -> None:
    assert batch_indices(0, 5, 8, 10).tolist() == [0, 1, 9, 5, 3, 4, 3, 2]


def test_a_weight_beside_very_many_faces_loses_no_place() -> None:
    weights = np.random.default_rng(1).uniform(0.001, 1000, 2_000_003)
    for epoch in range(3):
        assert len(Shares(weights).places(epoch_offset(3, epoch))) == len(weights)


def test_offsets_of_epochs_fill_the_line_evenly() -> None:
    offsets = np.sort([epoch_offset(11, epoch) for epoch in range(1000)])
    assert np.diff(offsets).max() < 3 / 1000


def test_the_loader_shows_faces_by_the_weights_of_their_index(weighted: Path) -> None:
    faces = Faces(weighted)
    assert faces.weights is not None
    with Loader(faces, config(), CPU) as loader:
        batches = [loader.batch(8 * step, step, 8).pixels for step in range(6)]
    order = batch_indices(5, 0, 48, 42, Shares(faces.weights))
    assert torch.equal(torch.cat(batches), faces.images(order))
    assert not torch.equal(order, batch_indices(5, 0, 48, 42))


def test_a_weighted_training_goes_on_from_the_images_seen_alone(weighted: Path) -> None:
    with Loader(Faces(weighted), config(), CPU) as first, Loader(Faces(weighted), config(), CPU) as second:
        batches = [first.batch(8 * step, step, 8).pixels for step in range(12)]
        assert torch.equal(second.batch(8 * 11, 11, 8).pixels, batches[11])


def test_weighted_ranks_and_parts_share_out_one_order(weighted: Path) -> None:
    with Loader(Faces(weighted), config(batch=32), CPU) as whole, Loader(Faces(weighted), config(), CPU) as part:
        for step in range(4):
            pixels = whole.batch(32 * step, step, 32).pixels
            parts = [part.batch(32 * step + 8 * i, 4 * step + i, 8).pixels for i in range(4)]
            assert torch.equal(torch.cat(parts), pixels)
            joined = torch.empty_like(pixels)
            for rank in range(2):
                rows = rank_rows(batch_parts(32, 8, 4, Ranks(rank, 2)))
                joined[rows] = part.batch(32 * step, step, 32, rows).pixels
            assert torch.equal(joined, pixels)


def test_other_weights_make_another_data_set_and_held_out_faces_have_their_own(weighted: Path, shards: Path) -> None:
    assert Faces(weighted).ids == Faces(shards).ids
    assert Faces(weighted).digest != Faces(shards).digest
    assert len(Faces(weighted, "held_out")) == 6
