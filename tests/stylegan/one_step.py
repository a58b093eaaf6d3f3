"""The gradients of one step, alone or as one of several ranks: `torchrun -m tests.stylegan.one_step FILE`."""

from __future__ import annotations

import sys

import safetensors.torch
import torch

from stylegan.architectures import Generator, build_networks
from stylegan.config import StyleGAN2Config, TrainConfig
from stylegan.draws import Drawing, Draws, Reals, draw_step
from stylegan.phases import train_step
from stylegan.ranks import Ranks, batch_parts, joined, rank_rows
from stylegan.state import new_state

SMALL = StyleGAN2Config(z_dim=32, w_dim=32, mapping_layers=2, channel_base=256, channel_max=16)


def draws_at(config: TrainConfig, G: Generator, step: int, device: str = "cpu") -> Draws:
    return draw_step(Drawing(config, step, config.batch, torch.device(device)), G, config.resolution)


def gradients_of_a_step(micro_batch: int | None, ranks: Ranks | None = None) -> dict[str, torch.Tensor]:
    """What every optimiser was given in a first step, all four phases, minibatch-std groups included."""
    config = TrainConfig(
        resolution=16, batch=32, micro_batch=micro_batch, network=SMALL, path_interval=2, r1_interval=2, seed=5
    )
    torch.manual_seed(0)
    G, D = build_networks(config.network, 16)
    for name, p in G.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(p, 0.1)
    state = new_state(G, D, config)
    found: dict[str, torch.Tensor] = {}
    phases = {"G": iter(("main", "path")), "D": iter(("main", "r1"))}

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        module, name = (state.G, "G") if optimizer is state.opt_G else (state.D, "D")
        phase = next(phases[name])
        for key, p in module.named_parameters():
            if p.grad is not None:
                found[f"{name}-{phase}.{key}"] = p.grad.clone()

    state.opt_G.register_step_pre_hook(keep)
    state.opt_D.register_step_pre_hook(keep)
    reals = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(9)).tanh()
    rows = rank_rows(batch_parts(32, micro_batch, 4, ranks))
    train_step(state, config, draws_at(config, G, 0), Reals(reals[rows]), ranks=ranks)
    return found | {"w_avg": state.G.mapping.w_avg, "path_mean": state.path_mean}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as ranks:
        found = gradients_of_a_step(int(sys.argv[2]) if len(sys.argv) > 2 else None, ranks)
        if ranks.first:
            safetensors.torch.save_file(found, sys.argv[1])
