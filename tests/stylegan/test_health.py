from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.health import FAULTS, Training, alarms_of, discs, healthy, try_fault
from stylegan.architectures import build_networks
from stylegan.config import TrainConfig
from stylegan.faces import Faces
from stylegan.growth import growth_at
from stylegan.health import ALARMS, Figures, Watch
from stylegan.loader import Batch
from stylegan.state import new_state
from stylegan.vitals import diversity, first_not_finite, measure, nearest, peak_ratio, watched_faces

CONFIG = TrainConfig(resolution=16, batch=8)
WELL: Figures = {
    "score_real": 0.5,
    "score_fake": -0.5,
    "sign_real": 0.4,
    "sign_fake": -0.4,
    "loss_G": 1.0,
    "score_watched": 0.5,
    "score_held_out": 0.4,
    "score_fixed": -0.5,
    "score_error": 0.1,
    "score_spread": 0.5,
    "diversity_pixels": 0.8,
    "diversity_features": 0.9,
    "brightness": 0.4,
    "gradient_G": 1.0,
    "gradient_D": 1.0,
    "peak": 5.0,
    "augment_p": 0.0,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def raised(ticks: list[Figures], config: TrainConfig = CONFIG) -> list[str]:
    watch = Watch(config, None, None)
    return [name for tick in ticks for name in watch.weigh(tick)]


@pytest.mark.slow
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_put_into_a_good_training_is_found_by_its_name(what: str) -> None:
    found = try_fault(FAULTS[what])
    assert found.after, found.alarms
    assert {alarm.name for alarm in found.alarms} == {FAULTS[what].name}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_a_healthy_training_raises_no_alarm(number: int) -> None:
    assert alarms_of(healthy(number), 20) == []


def test_there_is_an_injected_fault_for_every_alarm() -> None:
    assert {fault.name for fault in FAULTS.values()} == set(ALARMS)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"augment": {"mode": "fixed", "p": 0.5}, "network": {"channel_base": 128, "channel_max": 16, "num_labels": 3}},
        {
            "network": {"architecture": "stylegan1", "channel_base": 128, "channel_max": 16},
            "growth": {"start": 8, "fade_kimg": 0.1, "stable_kimg": 0.1},
        },
        {"network": {"architecture": "dcgan", "channels": 8}},
    ],
    ids=["stylegan2", "labels", "growing", "dcgan"],
)
def test_looking_changes_nothing_of_the_training_nor_of_its_random_numbers(values: dict[str, Any]) -> None:
    config = TrainConfig.model_validate({"resolution": 16, "batch": 8, "path_interval": 0} | values)
    state = new_state(*build_networks(config.network, 16), config)
    state.images_seen = 250
    if config.growth:
        for network in (state.G, state.D):
            network.grow(growth_at(config.growth, 16, 250))
    labels = torch.eye(3)[torch.arange(16) % 3] if config.network.num_labels else None
    before = copy.deepcopy([m.state_dict() for m in (state.G, state.D, state.G_ema)])
    random, modes = torch.get_rng_state(), [m.training for m in (*state.G.modules(), *state.D.modules())]
    first, second = (measure(state, config, Batch(discs(0, 16), labels), Batch(discs(50, 16), labels)) for _ in "12")
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in (*state.G.modules(), *state.D.modules())] == modes
    for module, weights in zip((state.G, state.D, state.G_ema), before, strict=True):
        assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
        assert all(p.grad is None and not m._forward_hooks for m in module.modules() for p in m.parameters())


def test_a_watch_that_is_told_the_past_goes_on_as_if_it_had_been_there() -> None:
    worse = [WELL | {"peak": 60.0, "gradient_D": 100.0 if i > 6 else 1.0} for i in range(10)]
    whole = Watch(CONFIG, None, None)
    told = [whole.weigh(tick) for tick in [WELL, WELL, *worse]]
    for kill in range(12):
        lines = [json.dumps({"kimg": 0.1 * i} | t) for i, t in enumerate([WELL, WELL, *worse][:kill])]
        resumed = Watch(CONFIG, None, None, [json.loads(line) for line in lines])
        assert [resumed.weigh(tick) for tick in [WELL, WELL, *worse][kill:]] == told[kill:]
        assert resumed.standing == whole.standing == {"droplets", "exploding"}


def test_figures_that_a_look_adds_are_those_that_stats_keep() -> None:
    training = Training({})
    alarms_of(training, 2)
    assert [json.loads(json.dumps(t)) for t in training.watch.ticks] == training.watch.ticks
    again = Watch(training.config, None, None, training.watch.ticks)
    assert again.ticks == training.watch.ticks
    assert all(value == float(f"{value:.6g}") for tick in again.ticks for value in tick.values())


def test_an_alarm_comes_once_and_again_only_after_it_was_away() -> None:
    bad = WELL | {"peak": 60.0}
    assert raised([bad] * 2) == []
    assert raised([bad] * 9) == ["droplets"]
    assert raised([bad] * 3 + [WELL] * 2 + [bad] * 5) == ["droplets"]
    assert raised([bad] * 3 + [WELL] * 3 + [bad] * 3) == ["droplets", "droplets"]


def test_a_training_ends_on_the_alarms_that_it_shall_end_on_as_long_as_they_hold() -> None:
    watch = Watch(CONFIG, None, None, [WELL | {"peak": 60.0}] * 3)
    assert watch.ends(()) is None
    assert watch.ends(("collapse",)) is None
    assert watch.ends(("collapse", "droplets")) == "droplets"
    for _ in range(3):
        watch.weigh(WELL)
    assert watch.ends(("droplets",)) is None


@pytest.mark.parametrize(
    ("figures", "values", "alarms"),
    [
        ({}, {}, []),
        ({"score_held_out": -0.2}, {}, ["discriminator_overfits"]),
        ({"score_held_out": -0.2, "score_error": 0.3}, {}, []),  # too few faces to be sure
        ({"score_held_out": 0.15}, {}, []),  # a third of the way
        ({"score_held_out": -3.0, "score_fixed": 2.0}, {}, []),  # fakes above reals: no scale to measure on
        ({"score_fake": 0.7}, {}, ["imbalance"]),
        ({"score_fake": 0.55}, {}, []),  # even enough
        ({"score_spread": 0.001}, {}, ["imbalance"]),
        ({"sign_real": 1.0, "sign_fake": -1.0, "loss_G": 6.0}, {}, ["imbalance"]),
        ({"sign_real": 1.0, "sign_fake": -1.0, "loss_G": 6.0}, {"loss": "wgan"}, []),
        ({"score_real": 500.0}, {}, ["exploding"]),
        ({"score_real": 500.0}, {"loss": "wgan"}, []),
        ({"diversity_pixels": 0.1}, {}, []),
        ({"diversity_pixels": 0.1, "diversity_features": 0.1}, {}, ["collapse"]),
        ({"augment_p": 0.9}, {"augment": {"mode": "adaptive"}}, ["augmentation_leaks"]),
        ({"augment_p": 0.9}, {"augment": {"mode": "fixed", "p": 0.9}}, []),
        ({"loss_G": float("nan")}, {}, ["not_finite"]),
    ],
)
def test_figures_raise_the_alarm_that_they_stand_for(
    figures: Figures, values: dict[str, Any], alarms: list[str]
) -> None:
    config = TrainConfig.model_validate(CONFIG.model_dump() | values)
    assert raised([WELL | figures] * 12, config) == alarms


def test_a_generators_loss_that_is_high_but_falls_is_no_alarm() -> None:
    early = [WELL | {"sign_real": 1.0, "sign_fake": -1.0, "loss_G": 20 * 0.9**i} for i in range(12)]
    assert raised(early) == []


def test_a_blob_has_a_high_peak_and_an_even_map_none() -> None:
    even = torch.ones(2, 3, 20, 20)
    assert peak_ratio(even) == pytest.approx(1)
    blob = torch.zeros(2, 3, 20, 20)
    blob[:, :, 4:6, 4:6] = 1  # 4 places, a hundredth of 400
    assert peak_ratio(blob) == pytest.approx(100)
    assert peak_ratio(even + blob) == pytest.approx(4 / ((396 + 4 * 4) / 400))


def test_diversity_is_the_median_distance_to_the_nearest_relative_to_reals() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    assert nearest(points).tolist() == [1, 1, 2, 7]
    assert diversity(points, 2 * points) == pytest.approx(0.5)
    pairs = torch.tensor([[0.0], [0.0], [9.0], [9.0]])
    assert diversity(pairs, points) == 0  # two pictures, whatever lies between them


def test_the_layer_where_it_began_is_named_before_those_that_follow_from_it() -> None:
    training = Training({})
    assert first_not_finite(training.state, training.config) is None
    weight = training.state.D.get_parameter("b8.conv0.weight")
    weight.grad = torch.full_like(weight, torch.nan)
    assert first_not_finite(training.state, training.config) == "gradient of D.b8.conv0.weight"
    training.state.G.get_parameter("synthesis.b8.conv1.bias").data.fill_(3e38)
    assert first_not_finite(training.state, training.config) == "activation of G.synthesis.b8.conv1"
    weight.data[0] = torch.inf
    assert first_not_finite(training.state, training.config) == "weight D.b8.conv0.weight"


def test_watched_faces_are_a_fixed_choice_in_whole_groups(shards: Path) -> None:
    config, device = TrainConfig(resolution=16, batch=8), torch.device("cpu")
    training, held_out = (watched_faces(Faces(shards, split), config, device) for split in ("train", "held_out"))
    assert training is not None
    assert held_out is not None
    assert (len(training.pixels), len(held_out.pixels)) == (24, 4)
    again = watched_faces(Faces(shards, "train"), config, device)
    assert again is not None
    assert torch.equal(again.pixels, training.pixels)
    few = config.model_copy(update={"network": config.network.model_copy(update={"minibatch_group": 8})})
    assert watched_faces(Faces(shards, "held_out"), few, device) is None
