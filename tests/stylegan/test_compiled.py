"""Compiled objectives held to the plain ones: values and every gradient within 1e-4.

The tracing, and the derivatives of derivatives, are the same for every backend of torch.compile. "aot_eager" runs the
traced graphs as they are, within seconds; "inductor" makes C++ of them, which takes about a minute a graph.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from stylegan.architectures import build_networks
from stylegan.compiled import compiled_objectives, kept, replayable
from stylegan.config import TrainConfig
from stylegan.losses import LOSSES
from stylegan.objectives import PLAIN, Moves, Objectives, manner_of
from tests.stylegan.one_step import config_of, draws_at, reals_of

CPU = torch.device("cpu")
PHASES = [*(pytest.param(p, marks=pytest.mark.slow) for p in ("generator", "discriminator")), "path", "penalty"]


@pytest.fixture(autouse=True)
def forgotten_graphs() -> Iterator[None]:
    yield
    torch.compiler.reset()


def run(phase: str, way: str, objectives: Objectives, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """What one phase answers, and the gradients it leaves."""
    config = config_of(way, resolution=size, batch=4)
    G, D = build_networks(config.network, size)
    draws, reals, manner = draws_at(config, G, 0), reals_of(config, torch.arange(4)), manner_of(config)
    moves = Moves(draws.augment["fakes"], draws.augment["reals"]) if draws.augment else Moves()
    trained = G if phase in ("generator", "path") else D
    (D if trained is G else G).requires_grad_(False)
    if phase == "generator":
        assert draws.generator is not None
        paired = reals if LOSSES[config.loss].pairs else None
        values = objectives.generator(G, D, manner, draws.generator, paired, moves)
    elif phase == "path":
        assert draws.path is not None
        assert draws.path_noise is not None
        values = objectives.path(G, draws.path, draws.path_noise)
    elif phase == "discriminator":
        values = objectives.discriminator(G, D, manner, draws.discriminator, reals, moves).terms
    else:
        values = objectives.penalty(G, D, manner, draws.discriminator, reals, moves, draws.blend)
    values.sum().backward()  # type: ignore[no-untyped-call]
    return values.detach(), {k: p.grad for k, p in trained.named_parameters() if p.grad is not None}


def assert_same(phase: str, way: str, backend: str, size: int = 8) -> None:
    config = config_of(way, resolution=size, batch=4)
    values, gradients = run(phase, way, compiled_objectives(config, CPU, backend), size)
    expected, expected_gradients = run(phase, way, PLAIN, size)
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-6)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        exact = expected_gradients[name]
        assert (gradient - exact).norm() <= 1e-4 * exact.norm() + 1e-7, name


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_is_one_graph_with_the_same_gradients(phase: str) -> None:
    assert_same(phase, "plain", "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "phase"),
    [
        ("augmented", "penalty"),
        ("relativistic, labels", "penalty"),
        ("stylegan3", "generator"),
    ],
)
def test_other_ways_of_training_compile_too(way: str, phase: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
        assert_same(phase, way, "aot_eager", 16)


@pytest.mark.slow
def test_a_second_order_phase_made_into_machine_code_has_the_same_gradients() -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        warnings.warn("no C++ compiler: compiled objectives are not tested as machine code", stacklevel=2)
        pytest.skip("no C++ compiler")
    assert_same("penalty", "dcgan", "inductor")


def test_a_second_step_makes_no_second_graph() -> None:
    config = config_of("plain", resolution=8, batch=4)
    G, _ = build_networks(config.network, 8)
    objectives = compiled_objectives(config, CPU, "aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in (0, 2):  # other latents, another crossover
            draws = draws_at(config, G, step)
            assert draws.path is not None
            assert draws.path_noise is not None
            objectives.path(G, draws.path, draws.path_noise)


def test_growing_is_not_compiled() -> None:
    config = config_of("growing", resolution=16)
    with pytest.raises(ValueError, match=r"train\.growth asks for networks that change"):
        compiled_objectives(config, CPU)


@pytest.mark.parametrize(
    ("values", "whole"),
    [({}, True), ({"micro_batch": 4}, False), ({"r1_interval": 1}, False), ({"path_interval": 1}, False)],
)
def test_graphs_are_replayed_only_where_gradients_are_used_at_once(values: dict[str, int], whole: bool) -> None:
    assert replayable(TrainConfig.model_validate({"batch": 8} | values)) is whole


def test_what_a_replay_overwrites_has_been_copied() -> None:
    memory = torch.zeros(2)
    first = kept(lambda: (memory, None))()
    memory += 1
    assert first[0].tolist() == [0, 0]
    assert first[1] is None
