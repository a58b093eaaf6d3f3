"""Whole recipes by name: numbers of papers and of our own runs."""

from __future__ import annotations

from typing import Any

from stylegan.config import DEFAULT_ARCHITECTURE, TrainConfig

# Rough faces at 64 px on two CPU cores in minutes. Small batches, because early progress goes by steps and not by
# pictures; few channels at 64 px, where they cost most; a strong R1; no noise, which showed as speckle after so short a
# training. What was tried beside it: docs/decisions.md.
SMALL: dict[str, Any] = {
    "resolution": 64,
    "batch": 8,
    "lr_G": 0.004,
    "lr_D": 0.004,
    "gamma": 2.0,
    "path_interval": 0,
    "threads": 1,  # two threads gain a third when alone on the cores, and lose all when not
    "ema_kimg": 0.5,
    "tick_kimg": 0.5,
    "sample_kimg": 1.0,
    "snapshot_kimg": 4.0,
    "style_mixing": 0.5,
    "network": {
        "z_dim": 64,
        "w_dim": 64,
        "mapping_layers": 2,
        "channel_base": 512,
        "channel_max": 96,
        "noise": False,
    },
}

# Whole recipes. Numbers without a run behind them are the cited papers'.
PRESETS: dict[str, dict[str, Any]] = {
    # The reference's settings for one GPU (stylegan2-ada-pytorch, cfg "auto"), below 512 px.
    "auto": {
        "kimg": 25000.0,
        "batch": 32,
        "network": {"mapping_layers": 2, "channel_base": 16384, "conv_clamp": 256.0},
    },
    # StyleGAN2 configuration F at 1024 px (Karras et al. 2020, table 1). Not yet run.
    "config-f": {
        "resolution": 1024,
        "kimg": 25000.0,
        "batch": 32,
        "micro_batch": 4,
        "lr_G": 0.002,
        "lr_D": 0.002,
        "gamma": 10.0,
        "ema_kimg": 10.0,
        "ema_rampup": None,
        "network": {"channel_base": 32768, "conv_clamp": 256.0},
    },
    # The CelebA tutorial's numbers at 128 px: Adam 0.001 for both, batch 16, code 512. It counts 600,000 pictures
    # a size, 37,500 steps, over the sizes 8 .. 128 (its seven captions agree): 5 x 600 kimg. Not yet run.
    "celeba128": {
        "resolution": 128,
        "kimg": 3000.0,
        "batch": 16,
        "lr_G": 0.001,
        "lr_D": 0.001,
        "snapshot_kimg": 160.0,  # the tutorial saves every 10,000 steps of 16
        "network": {"channel_base": 16384},
    },
    # Recognisable faces from some 800 drawn ones.
    "toon": {**SMALL, "kimg": 32.0},
    # A few hundred real faces: shows that the pipeline works; faces worth looking at need more of them, and a GPU.
    "photos": {**SMALL, "kimg": 16.0},
    "illustrations": {**SMALL, "kimg": 16.0},
}


def recipe(preset: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The preset's values with those asked for over them, one by one within `network`, `augment` and `growth` too.

    Another architecture than the preset's takes nothing of the preset's network.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset is called {preset!r}: choose one of {', '.join(sorted(PRESETS))}")
    known = PRESETS[preset]
    merged = {**known, **asked}
    for part in ("network", "augment", "growth"):
        theirs, ours = known.get(part), asked.get(part)
        if isinstance(theirs, dict) and isinstance(ours, dict):
            other = part == "network" and ours.get("architecture", _name(theirs)) != _name(theirs)
            merged[part] = ours if other else {**theirs, **ours}
    return merged


def _name(network: dict[str, Any]) -> str:
    return str(network.get("architecture", DEFAULT_ARCHITECTURE))


def resolve(preset: str, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """The preset's recipe with single values replaced."""
    return TrainConfig.model_validate(recipe(preset, dict(overrides or {})))
