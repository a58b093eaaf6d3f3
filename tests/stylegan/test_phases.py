from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.architectures import build_networks
from stylegan.config import StyleGAN2Config, TrainConfig
from stylegan.draws import Draws, Latents, Reals
from stylegan.phases import train_step
from stylegan.ranks import batch_parts, rank_rows
from stylegan.state import Diverged, TrainState, average_decay, new_state
from tests.stylegan.one_step import WAYS, draws_at, gradients_of_a_step

SMALL = StyleGAN2Config(z_dim=32, w_dim=32, mapping_layers=2, channel_base=256, channel_max=16)


@pytest.fixture(scope="module")
def recorded(fixtures: Path) -> dict[str, np.ndarray]:
    data = np.load(fixtures / "train_sg2_6iters.npz")
    return {k: data[k] for k in data.files}


def recorded_weights(a: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    names = [k for k in a if k.startswith(prefix + ".") and not k.endswith("resample_filter")]
    return {k.removeprefix(prefix + "."): torch.from_numpy(a[k]) for k in names}


def recorded_training(a: dict[str, np.ndarray]) -> tuple[TrainConfig, TrainState]:
    given = json.loads(str(a["config"]))
    config = TrainConfig(
        resolution=16,
        batch=8,
        network=SMALL.model_copy(update={"noise": False}),
        lr_G=given["lr"],
        lr_D=given["lr"],
        gamma=given["r1_gamma"],
        r1_interval=3,
        path_interval=2,
        path_weight=given["pl_weight"],
        style_mixing=0,
        ema_kimg=given["ema_kimg"],
        ema_rampup=given["ema_rampup"],
    )
    G, D = build_networks(config.network, 16)
    G.load_state_dict(recorded_weights(a, "init.G"))
    D.load_state_dict(recorded_weights(a, "init.D"))
    return config, new_state(G, D, config)


def recorded_draws(a: dict[str, np.ndarray], step: int) -> Draws:
    z = torch.from_numpy(a["z"][step])
    path = (Latents(z[1][:4]), torch.from_numpy(a["pl_noise"][step])) if step % 2 == 0 else (None, None)
    return Draws(Latents(z[2]), Latents(z[0]), *path)


def test_six_steps_equal_the_references_gradient_by_gradient(recorded: dict[str, np.ndarray]) -> None:
    config, state = recorded_training(recorded)
    log = {(entry["it"], entry["phase"]): entry for entry in json.loads(str(recorded["log"]))}
    seen: list[dict[str, torch.Tensor]] = []

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        module = state.G if optimizer is state.opt_G else state.D
        seen.append({k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None})

    state.opt_G.register_step_pre_hook(keep)
    state.opt_D.register_step_pre_hook(keep)
    for step in range(6):
        seen.clear()
        phases = [p for p in ("Gmain", "Greg", "Dmain", "Dreg") if (step, p) in log]
        decay = average_decay(config, state.images_seen, config.batch, rampup=True)
        assert decay == pytest.approx(
            next(v["ema_beta"] for (it, _), v in log.items() if it == step and "ema_beta" in v)
        )
        reals = Reals(torch.from_numpy(recorded["real"][step]))
        train_step(state, config, recorded_draws(recorded, step), reals)
        assert len(seen) == len(phases)
        for phase, gradients in zip(phases, seen, strict=True):
            entry = log[step, phase]
            norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
            assert float(norm) == pytest.approx(entry["grad_norm"], rel=1e-3)
            assert len(gradients) == entry["n_grads"]
            expected = recorded_weights(recorded, f"grad.{step}.{phase}")
            assert step > 2 or set(expected) == set(gradients)
            for name, value in expected.items():
                scale = max(float(value.abs().max()), 1e-8)
                torch.testing.assert_close(gradients[name] / scale, value / scale, rtol=1e-3, atol=1e-4, msg=name)
        if "Greg" in phases:
            assert float(state.path_mean) == pytest.approx(log[step, "Greg"]["pl_mean"], rel=1e-4)
    for name, module in (("G", state.G), ("D", state.D), ("G_ema", state.G_ema)):
        expected = recorded_weights(recorded, f"final.{name}")
        for key, value in module.state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=2e-5, msg=f"{name}.{key}")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("micro_batch", [8, 4])
def test_micro_batches_add_up_to_the_whole_batch(micro_batch: int, way: str) -> None:
    whole, parts = gradients_of_a_step(None, way=way), gradients_of_a_step(micro_batch, way=way)
    assert set(whole) == set(parts)
    assert {k.split(".")[0] for k in whole} >= {"G-main", "D-main"}
    assert relative_differences(whole, parts, lambda name: name.split(".")[0]).max() < 1e-5


@pytest.mark.parametrize("micro_batch", [8, 4])
def test_in_double_precision_every_single_gradient_adds_up(micro_batch: int) -> None:
    # In float32 a scalar that is a sum of many cancelling terms differs by 1e-5 from rounding alone: the mathematics
    # is held, tensor by tensor, where rounding is out of the way.
    torch.set_default_dtype(torch.float64)
    try:
        whole, parts = gradients_of_a_step(None), gradients_of_a_step(micro_batch)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {k.split(".")[0] for k in whole} == {"G-main", "G-path", "D-main", "D-r1", "buffer", "path_mean"}
    assert relative_differences(whole, parts, lambda name: name).max() < 1e-10


def relative_differences(
    whole: dict[str, torch.Tensor], parts: dict[str, torch.Tensor], group: Callable[[str], str]
) -> torch.Tensor:
    """Norm of the difference over norm, for each group of tensors taken as one vector."""
    names: dict[str, list[str]] = {}
    for name in whole:
        names.setdefault(group(name), []).append(name)
    vectors = [(torch.cat([side[n].flatten() for n in ns]) for side in (whole, parts)) for ns in names.values()]
    return torch.stack([(b - a).norm() / a.norm().clamp(min=1e-12) for a, b in vectors])


def test_parts_of_a_batch_are_whole_minibatch_std_groups() -> None:
    parts = batch_parts(32, 8, 4)
    assert [p.rows.tolist() for p in parts[:2]] == [[0, 1, 8, 9, 16, 17, 24, 25], [2, 3, 10, 11, 18, 19, 26, 27]]
    assert sorted(rank_rows(parts).tolist()) == list(range(32))


def test_draws_depend_on_seed_and_step_alone() -> None:
    config = TrainConfig(resolution=16, batch=4, network=SMALL, path_interval=0)
    G, _ = build_networks(SMALL, 16)
    first, again, later = (draws_at(config, G, step) for step in (7, 7, 8))
    assert first.generator is not None
    assert again.generator is not None
    assert later.generator is not None
    assert torch.equal(first.generator.z, again.generator.z)
    assert not torch.equal(first.generator.z, later.generator.z)
    assert not torch.equal(first.generator.z, first.discriminator.z)


def test_a_gradient_that_is_no_number_stops_before_it_harms_and_is_named() -> None:
    config = TrainConfig(resolution=16, batch=4, network=SMALL, path_interval=0, r1_interval=0)
    torch.manual_seed(0)
    G, D = build_networks(SMALL, 16)
    state = new_state(G, D, config)
    before = {k: v.clone() for k, v in D.state_dict().items()}
    reals = torch.full([4, 3, 16, 16], torch.nan)
    with pytest.raises(Diverged, match=r"gradient of D\.b16\.fromrgb\.weight"):
        train_step(state, config, draws_at(config, G, 0), Reals(reals))
    assert all(torch.equal(v, before[k]) for k, v in D.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_step_on_cuda_equals_the_cpus() -> None:
    """The weights after one step without noise maps, which are drawn on the device, in full float32."""
    config = TrainConfig(resolution=16, batch=8, network=SMALL.model_copy(update={"noise": False}), path_interval=0)
    reals = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(9)).tanh()
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        G, D = build_networks(config.network, 16)
        state = new_state(G.to(device), D.to(device), config)
        train_step(state, config, draws_at(config, state.G, 0, device.type), Reals(reals.to(device)))
        found.append({k: v.cpu() for m in (state.G, state.D) for k, v in m.state_dict().items()})
    torch.set_float32_matmul_precision(precision)
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
