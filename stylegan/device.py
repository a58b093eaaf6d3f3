"""The device that a training or a model works on, set up for it."""

from __future__ import annotations

import ctypes

import torch

from stylegan.config import TrainConfig


def choose_device(config: TrainConfig) -> torch.device:
    """The device of a config, with torch set up for it: repeatable on CPU, fast on CUDA."""
    cuda = torch.cuda.is_available()
    if config.device.startswith("cuda") and not cuda:
        raise ValueError(f"train.device is {config.device}, but torch sees no CUDA device: choose auto or cpu")
    device = torch.device(("cuda" if cuda else "cpu") if config.device == "auto" else config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # 15 % of the time
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return device


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next step instead of handing it back to the system.

    Every step needs the same few hundred MB; fetching them as fresh pages each time took 15 % of the CPU's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc: another allocator, with ways of its own
        return
    trim_threshold, mmap_max = -1, -4
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
