"""Recipes of our own: small ones that run in minutes, ones for a small GPU, ones that start from a donor."""

from __future__ import annotations

from typing import Any

from stylegan.presets.preset import Preset, merged
from stylegan.presets.published import AUTO, AUTO_FROM_SIZE

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

# From a donor: the averaged generator needs no ramp-up, it starts as the donor's; p finds its place five times faster.
# The network must be the donor's; these values stand for one trained with `auto`.
TRANSFER: dict[str, Any] = merged(AUTO, {"ema_rampup": None, "augment": {"kimg": 100.0}})

_TRANSFER_SOURCE = (
    "stylegan3 docs/configs.md (freeze 10 or 13 layers of D: 3 or 4 blocks; p from 0 to 1 in 100 kimg), "
    "Mo et al. 2020 (arXiv:2002.10964); learning rate and budget by the number of faces are our guess"
)


def _transfer(faces: int, **values: Any) -> Preset:
    return Preset(
        f"from a donor to some {faces} faces of one kind; stop when D(train) leaves D(held-out)",
        _TRANSFER_SOURCE,
        f"{values['kimg']:g} kimg at auto's seconds per kimg",
        "not yet run",
        TRANSFER | values,
        AUTO_FROM_SIZE,
    )


OWN: dict[str, Preset] = {
    "toon": Preset(
        "recognisable 64 px faces from some 800 drawn ones",
        "our search, docs/decisions.md, 2026-11-20",
        "32 kimg in 218 s on 2 CPU cores (docs/results.md)",
        "sliced Wasserstein distance 56.4 to held-out faces, 52.3 after cleaning and retraining (docs/results.md)",
        {**SMALL, "kimg": 32.0},
    ),
    "photos": Preset(
        "64 px faces from a few hundred photographs: shows that the pipeline works",
        "as toon; faces worth looking at need more of them, and a GPU",
        "16 kimg in 111 s on 2 CPU cores (docs/results.md)",
        "sliced Wasserstein distance 59.4 to held-out faces, 52.6 after cleaning and retraining (docs/results.md)",
        {**SMALL, "kimg": 16.0},
    ),
    "illustrations": Preset(
        "64 px anime faces from some hundred drawings: shows that the pipeline works",
        "as toon",
        "16 kimg in 111 s on 2 CPU cores (docs/results.md)",
        "sliced Wasserstein distance 133.3 to held-out faces, 134.2 after retraining (docs/results.md)",
        {**SMALL, "kimg": 16.0},
    ),
    # The same mathematics as auto's with a batch of 32: parts of 8 images fit, later ones of 4.
    "small-gpu": Preset(
        "up to 512 px on one GPU with 12 GB: batches in parts, bfloat16 at the highest resolutions",
        "auto, with the batch of stylegan2-ada-pytorch's larger machines",
        "not yet measured; auto needs 4.5 GB at 256 px with 16 images at a time on a V100 (stylegan3 docs/configs.md)",
        "not yet run",
        merged(AUTO, {"kimg": 5000.0, "micro_batch": 8, "precision": "bfloat16", "snapshot_kimg": 40.0}),
        {512: {"micro_batch": 4, "network": {"channel_base": 32768}}},
    ),
    # Fewer faces: more of D stays the donor's, smaller steps, an earlier end, checkpoints closer to each other.
    "transfer-n50": _transfer(
        50, kimg=100.0, freeze_D=4, lr_G=0.001, lr_D=0.001, snapshot_kimg=5.0, tick_kimg=1.0, keep_last=8
    ),
    "transfer-n500": _transfer(
        500, kimg=400.0, freeze_D=3, lr_G=0.002, lr_D=0.002, snapshot_kimg=20.0, tick_kimg=2.0, keep_last=6
    ),
    "transfer-n5000": _transfer(5000, kimg=2000.0, lr_G=0.002, lr_D=0.002, snapshot_kimg=100.0),
}
