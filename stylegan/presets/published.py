"""Recipes of papers and of well-known pages. Numbers without a run of ours are theirs.

A growing recipe's sizes all take fade_kimg + stable_kimg, the first one too, where NVIDIA's trainer gives the first one
stable_kimg only: the whole resolution comes 600 kimg later here.
"""

from __future__ import annotations

from typing import Any

from stylegan.presets.preset import Preset, merged

_SG1 = "Karras et al. 2019 (arXiv:1812.04948)"
_SG2 = "Karras et al. 2020 (arXiv:1912.04958), table 1"
_ADA = "Karras et al. 2020 (arXiv:2006.06676)"
_SG3 = "Karras et al. 2021 (arXiv:2106.12423)"
_S3_DOCS = "stylegan3 docs/configs.md"

# stylegan2-ada-pytorch, cfg "auto", for one GPU: smaller batches where pictures are larger; gamma, learning rate and
# the averaged generator's half-life follow resolution and batch by the same rules ("auto", the defaults).
AUTO: dict[str, Any] = {
    "kimg": 25000.0,
    "batch": 32,
    "augment": {"mode": "adaptive"},
    "network": {"mapping_layers": 2, "channel_base": 16384, "conv_clamp": 256.0},
}
AUTO_FROM_SIZE: dict[int, dict[str, Any]] = {
    256: {"batch": 16},
    512: {"batch": 8, "network": {"channel_base": 32768}},
    1024: {"batch": 4},
}

# StyleGAN2's trainer, configuration F; the others are told as what they lack.
CONFIG_F: dict[str, Any] = {
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
}
CONFIG_E = merged(CONFIG_F, {"gamma": 100.0, "network": {"channel_base": 16384}})
GROWTH: dict[str, Any] = {
    "start": 8,
    "fade_kimg": 600.0,
    "stable_kimg": 600.0,
    "batch": {8: 256, 16: 128, 32: 64, 64: 32},
    "lr": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
}
CONFIG_D = merged(
    CONFIG_E,
    {
        "gamma": 10.0,
        "lr_G": 0.001,
        "lr_D": 0.001,
        "growth": GROWTH,
        "network": {"generator": "orig", "discriminator": "orig"},
    },
)
CONFIG_C = CONFIG_D | {"path_interval": 0}
CONFIG_B = CONFIG_C | {"r1_interval": 1}
CONFIG_A = CONFIG_B | {"network": {"architecture": "stylegan1"}}


def _table_1(about: str, values: dict[str, Any], fid: str, length: str, cost: str = "not published") -> Preset:
    result = f"FFHQ 1024 px: FID {fid}, path length {length} ({_SG2}); here not yet run"
    return Preset(f"StyleGAN2's ablation, {about}", _SG2, cost, result, values)


# The CelebA tutorial, which trains rosinality/style-based-gan-pytorch with its defaults and --mixing: Adam 0.001 for
# both, batch 16, code 512, WGAN-GP with drift, one step of D for one of G, the spread of the whole batch, an averaged
# generator that keeps 0.999 a step (half of itself over 693). It counts 600,000 pictures a size, 37,500 steps; all
# seven captions of its pictures, up to step 400,000 (6,400 kimg), agree with that.
CELEBA: dict[str, Any] = {
    "resolution": 128,
    "kimg": 6400.0,
    "batch": 16,
    "lr_G": 0.001,
    "lr_D": 0.001,
    "betas": (0.0, 0.99),
    "generator_interval": 1,
    "loss": "wgan",
    "penalty": "gradient",
    "gamma": 10.0,
    "r1_interval": 1,
    "drift": 0.001,
    "path_interval": 0,
    "style_mixing": 0.9,
    "ema_kimg": 11.085,
    "ema_rampup": None,
    "growth": {"start": 8, "fade_kimg": 300.0, "stable_kimg": 300.0},
    "network": {"architecture": "stylegan1", "z_dim": 512, "w_dim": 512, "minibatch_group": 16},
    "sample_columns": 10,
    "sample_rows": 5,
    "sample_kimg": 80.0,  # 5,000 steps: six of the seven captioned ones (the first is step 100)
    "snapshot_kimg": 160.0,  # 10,000 steps
}

# Gwern's anime faces on two GPUs: StyleGAN's trainer with its own batches and learning rates by size.
GWERN: dict[str, Any] = {
    "resolution": 512,
    "kimg": 99000.0,
    "batch": 8,
    "lr_G": 0.001,
    "lr_D": 0.001,
    "gamma": 10.0,
    "r1_interval": 1,
    "path_interval": 0,
    "ema_kimg": 10.0,
    "ema_rampup": None,
    "growth": {
        "start": 8,
        "fade_kimg": 600.0,
        "stable_kimg": 600.0,
        "batch": {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        "lr": {512: 0.0015, 1024: 0.002},
    },
    "network": {"architecture": "stylegan1"},
}


def _stylegan3(architecture: str, cost: str, result: str) -> Preset:
    values: dict[str, Any] = {
        "resolution": 256,
        "kimg": 25000.0,
        "batch": 32,
        "micro_batch": 8,
        "lr_G": 0.0025,
        "lr_D": 0.002,
        "gamma": 0.5,
        "path_interval": 0,
        "style_mixing": 0.0,
        "augment": {"mode": "adaptive"},
        "network": {
            "architecture": architecture,
            "mapping_layers": 2,
            "channel_base": 32768,
            "conv_clamp": 256.0,
        },
    }
    if architecture == "stylegan3-r":
        values |= {"blur_width": 10.0, "blur_kimg": 200.0}
    # gamma grows with the square of the resolution: 2 at 256 px.
    from_size: dict[int, dict[str, Any]] = {
        256: {"gamma": 2.0},
        512: {"gamma": 8.0},
        1024: {"gamma": 32.0, "micro_batch": 4},
    }
    about = f"StyleGAN3-{architecture[-1].upper()}: details move with the face, at any resolution"
    return Preset(about, f"{_SG3}, {_S3_DOCS}", cost, result, values, from_size)


PUBLISHED: dict[str, Preset] = {
    "auto": Preset(
        "StyleGAN2 with ADA on one GPU: the start for a new set of faces",
        f'{_ADA}, stylegan2-ada-pytorch, cfg "auto"',
        f"256 px: 12.5 s/kimg on an A100 (NVIDIA's code, {_S3_DOCS}), 25,000 kimg in 3.6 days; good after 5,000",
        "not yet run",
        AUTO,
        AUTO_FROM_SIZE,
    ),
    "paper256": Preset(
        "StyleGAN2 with ADA as in its paper for FFHQ and LSUN Cat",
        f'{_ADA}, stylegan2-ada-pytorch, cfg "paper256"',
        f"2.5 s/kimg on 8 A100 (NVIDIA's code, {_S3_DOCS}), 25,000 kimg in 17 hours",
        "FFHQ 256 px, 140,000 pictures: FID 3.81 (stylegan2-ada-pytorch); here not yet run",
        {
            "resolution": 256,
            "kimg": 25000.0,
            "batch": 64,
            "lr_G": 0.0025,
            "lr_D": 0.0025,
            "gamma": 1.0,
            "ema_kimg": 20.0,
            "ema_rampup": None,
            "augment": {"mode": "adaptive"},
            "network": {"channel_base": 16384, "conv_clamp": 256.0, "minibatch_group": 8},
        },
    ),
    "config-a": _table_1("A: the first StyleGAN, growing", CONFIG_A, "4.40", "212.1"),
    "config-b": _table_1("B: A with weight demodulation", CONFIG_B, "4.39", "175.4"),
    "config-c": _table_1("C: B with lazy regularisation", CONFIG_C, "4.38", "158.0"),
    "config-d": _table_1("D: C with path-length regularisation", CONFIG_D, "4.34", "122.5"),
    "config-e": _table_1("E: D without growing, skip generator and residual discriminator", CONFIG_E, "3.31", "124.5"),
    "config-f": _table_1(
        "F: E with twice the channels, StyleGAN2 itself",
        CONFIG_F,
        "2.84",
        "145.0",
        f"14.6 s/kimg on 8 A100 (NVIDIA's code, {_S3_DOCS}), 25,000 kimg in 4.2 days; 9 d 18 h on 8 V100",
    ),
    "celeba128": Preset(
        "the CelebA tutorial's StyleGAN, growing from 8 to 128 px",
        f"{_SG1} in the CelebA tutorial's numbers",
        "6,400 kimg; the tutorial stopped at 400,000 steps by eye, seconds not yet measured",
        "not yet run",
        CELEBA,
    ),
    "gwern-512-2gpu": Preset(
        "Gwern's anime faces at 512 px: StyleGAN on two GPUs",
        f"{_SG1} in the numbers of gwern.net/Faces",
        "38 GPU-days (gwern.net/Faces); 99,000 kimg is a limit, not an aim",
        "not yet run",
        GWERN,
    ),
    # The reference also blurs what the discriminator sees, less and less over the first 200 kimg: not done here.
    "stylegan3-t": _stylegan3(
        "stylegan3-t",
        f"256 px: 49.8 s/kimg on an A100 (NVIDIA's code, {_S3_DOCS}), 25,000 kimg in 14 days",
        f"FFHQ 1024 px, gamma 32.8: FID 2.79 ({_SG3}); here not yet run",
    ),
    "stylegan3-r": _stylegan3(
        "stylegan3-r",
        f"256 px: 56.7 s/kimg on an A100 (NVIDIA's code, {_S3_DOCS}), 25,000 kimg in 16 days",
        f"FFHQ 1024 px, gamma 32.8: FID 3.07 ({_SG3}); here not yet run",
    ),
    # Over the first 20,000 kimg the paper lowers the learning rates to 5e-5 and gamma to a tenth, and raises Adam's
    # second rate from 0.9, p from 0 and the half-life from 0. Here the first two stay where they start, the others
    # are where they end. Its colours are augmented half as often as the rest, here as often.
    "r3gan": Preset(
        "R3GAN: relativistic pairing loss, R1 and R2 at every step, no style, no tricks",
        "Huang et al. 2024 (arXiv:2501.05441), its presets FFHQ-64 and, from 256 px up, FFHQ-256",
        "not yet measured; two penalties that are differentiated twice at every step",
        "FFHQ 64 px: FID 1.95, 256 px: FID 2.75 (the paper, with its schedules); here not yet run",
        {
            "kimg": 25000.0,
            "batch": 256,
            "lr_G": 0.0002,
            "lr_D": 0.0002,
            "loss": "relativistic",
            "penalty": "r1+r2",
            "gamma": 2.0,
            "r1_interval": 1,
            "path_interval": 0,
            "style_mixing": 0.0,
            "ema_kimg": 500.0,
            "augment": {"mode": "fixed", "p": 0.3, "transforms": ("bgc", "cutout")},
            "network": {"architecture": "r3gan"},
        },
        {256: {"gamma": 150.0, "micro_batch": 32}},
    ),
    "dcgan": Preset(
        "a DCGAN: the smoke model, seconds on a CPU",
        "Radford et al. 2015 (arXiv:1511.06434), section 4",
        "seconds for a few kimg on a CPU; not yet measured",
        "not yet run",
        {
            "resolution": 64,
            "kimg": 1000.0,
            "batch": 128,
            "lr_G": 0.0002,
            "lr_D": 0.0002,
            "betas": (0.5, 0.999),
            "r1_interval": 0,
            "path_interval": 0,
            "style_mixing": 0.0,
            "network": {"architecture": "dcgan"},
        },
    ),
}
