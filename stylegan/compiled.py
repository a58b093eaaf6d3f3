"""The four objectives of a step as one graph each (torch.compile): the same functions, fused.

A graph is made at the first call and takes about a minute each on a CPU. Everything that changes from step to step is
a tensor, so that no graph is made twice; the batch has one size. Second derivatives work because the inner gradient is
taken by torch.func inside the graph: a compiled graph cannot be differentiated twice from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from stylegan.config import TrainConfig
from stylegan.objectives import PLAIN, Objectives


def compiled_objectives(config: TrainConfig, device: torch.device, backend: str = "inductor") -> Objectives:
    """The objectives, each compiled into one graph; on CUDA replayed as CUDA graphs where that holds.

    A C++ compiler is needed on CPU, Triton on CUDA. Call it once a training, and pass the answer to every step.
    """
    if config.growth is not None:
        raise ValueError(
            "train.compile is on, and train.growth asks for networks that change at every step: a graph would be made "
            "anew each time; switch compile off, or drop growth"
        )
    mode = "reduce-overhead" if backend == "inductor" and device.type == "cuda" and replayable(config) else None
    compiled = [torch.compile(f, fullgraph=True, dynamic=False, backend=backend, mode=mode) for f in PLAIN]
    return Objectives(*(compiled if mode is None else [kept(f) for f in compiled]))


def replayable(config: TrainConfig) -> bool:
    """Whether each phase is one graph followed by an optimiser's step, so that replays overwrite nothing needed.

    Gradients lie in a graph's own memory. Those of several parts, or of a loss and a penalty in one step, are added up
    over several replays: such trainings run their graphs one kernel after the other.
    """
    whole = config.micro_batch is None or config.micro_batch >= config.batch
    return whole and config.r1_interval != 1 and config.path_interval != 1


def kept(replayed: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with answers that outlive its next replay."""

    def call(*inputs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return pytree.tree_map_only(Tensor, torch.clone, replayed(*inputs))

    return call
