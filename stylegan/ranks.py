"""Several processes that train as one: each works off some parts of the batch, all hold the same weights.

`torchrun --nproc-per-node N -m stylegan.training RUN` starts them. What a step computes does not depend on how many
there are: every rank draws the whole batch's random numbers, whole minibatch-std groups stay on one rank, gradients
are sums over ranks of terms that were divided by the whole batch, and running means see the whole batch at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

import torch
import torch.distributed
from torch import Tensor, nn


class Ranks:
    """The processes of a training, and which of them this one is; alone, all below costs nothing."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and saves for all."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def whole(self, values: Tensor, rows: Tensor, batch: int) -> Tensor:
        """Values of the whole batch [batch, ...] in its order, from those of this rank's rows [n, ...]."""
        everyone = values.new_zeros(batch, *values.shape[1:])
        everyone[rows.to(values.device)] = values
        return self.sum(everyone)  # to each row one rank adds its value and the others nothing

    def sum_gradients(self, module: nn.Module) -> None:
        """Give every rank the sum of all ranks' gradients."""
        if self.size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        flat = self.sum(torch.cat([g.flatten() for g in gradients]))
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, values: tuple[float, ...], device: torch.device) -> tuple[float, ...]:
        """The first rank's values on all ranks; the others give zeros."""
        if self.size == 1:
            return values
        # float64 where there is such a thing: all ranks must compute with the same numbers to the last bit.
        return tuple(self.sum(torch.tensor(values, dtype=torch.float64, device=device)).tolist())

    def agree(self, code: int, device: torch.device) -> int:
        """The largest code of all ranks: when one is asked to stop, all stop after the same step."""
        if self.size == 1:
            return code
        codes = torch.tensor(code, device=device)
        torch.distributed.all_reduce(codes, torch.distributed.ReduceOp.MAX)
        return int(codes)

    def wait(self) -> None:
        """Return once every rank has come here."""
        if self.size > 1:
            torch.distributed.barrier()


class Part(NamedTuple):
    """Images of a batch that are worked off together."""

    rows: Tensor  # where they stand in the whole batch, int64
    place: slice  # where they stand among this rank's reals


def batch_parts(batch: int, size: int | None, group: int, ranks: Ranks | None = None) -> list[Part]:
    """This rank's parts of a batch, of at most `size` images each: whole minibatch-std groups.

    Image i belongs to group i mod (batch / group); a part takes some groups, in the order that keeps them groups.
    """
    ranks = ranks or Ranks()
    group = min(group, batch)
    num_groups = batch // group
    num_parts = -(-num_groups // max(min(size or batch, batch // ranks.size) // group, 1))
    if num_groups % num_parts or num_parts % ranks.size:
        raise ValueError(
            f"a batch of {batch} images in groups of {group} (network.minibatch_group) cannot be split into "
            f"equal parts of at most {size or batch} on {ranks.size} ranks: change batch or micro_batch"
        )
    rows = torch.arange(batch)
    own = [rows[(rows % num_groups) // (num_groups // num_parts) == i] for i in range(num_parts)][
        ranks.rank :: ranks.size
    ]
    length = batch // num_parts
    return [Part(r, slice(i * length, (i + 1) * length)) for i, r in enumerate(own)]


def rank_rows(parts: Sequence[Part]) -> Tensor:
    """Where this rank's images stand in the whole batch, in the order of its reals."""
    return torch.cat([part.rows for part in parts])


def path_parts(count: int, size: int | None, ranks: Ranks) -> list[Tensor]:
    """This rank's parts of the path-length batch, int64 index tensors; no groups hold its images together."""
    own = torch.arange(count).tensor_split(ranks.size)[ranks.rank]
    return list(torch.split(own, size or count))


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun started, or this process alone; the connection ends with the block."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if cuda else "gloo")
    ranks = Ranks(torch.distributed.get_rank(), size)
    try:
        yield ranks
        ranks.wait()  # a rank that leaves while another still talks to it aborts that one
    finally:
        torch.distributed.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End the process; one of several ranks without the interpreter's teardown.

    There gloo's threads abort one start in twenty (torch 2.13, "terminate called without an active exception"), after
    all is written and every rank has parted.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
