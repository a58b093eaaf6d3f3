"""What can be asked of a training: the network's shape and the recipe, and whole recipes by name."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class NetworkConfig(BaseModel):
    """The shape of generator and discriminator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(default="stylegan2", description="A name in stylegan.architectures.ARCHITECTURES.")
    z_dim: int = Field(default=512, ge=4, description="Size of the latent code.")
    w_dim: int = Field(default=512, ge=4, description="Size of the intermediate latent code.")
    mapping_layers: int = Field(default=8, ge=1, le=16, description="Layers of the mapping network.")
    mapping_lr_multiplier: float = Field(
        default=0.01, gt=0, description="Learning rate of the mapping network, relative."
    )
    channel_base: int = Field(
        default=32768, ge=64, description="Channels at a resolution are channel_base / resolution, ..."
    )
    channel_max: int = Field(default=512, ge=4, description="... and at most so many.")
    noise: bool = Field(default=True, description="Whether the generator adds noise to its layers.")
    minibatch_group: int = Field(default=4, ge=1, description="Images whose spread the discriminator sees together.")
    conv_clamp: float | None = Field(
        default=None, gt=0, description="Activations are clamped to +- this; none: not at all."
    )

    def channels(self, resolution: int) -> int:
        """Channels of the layers at one resolution."""
        return min(self.channel_base // resolution, self.channel_max)


class TrainConfig(BaseModel):
    """One training, from the data's resolution to how often it is saved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int = Field(
        default=64, ge=8, le=2048, description="Width and height of the faces in px, a power of two."
    )
    seed: int = Field(default=0, ge=0, description="Every random draw follows from it.")
    kimg: float = Field(default=1000.0, ge=0, description="Length of the training in thousands of real pictures shown.")
    batch: int = Field(default=32, ge=1, description="Images a step.")
    micro_batch: int | None = Field(
        default=None, ge=1, description="Images at a time within a step; none: the whole batch."
    )
    mirror: bool = Field(default=True, description="Whether half of the real pictures are shown mirrored.")
    network: NetworkConfig = Field(default=NetworkConfig(), description="Shape of the networks.")
    lr_G: float | Literal["auto"] = Field(  # noqa: N815
        default="auto", description='Generator\'s learning rate; "auto" = 0.002 from 1024 px up, 0.0025 below.'
    )
    lr_D: float | Literal["auto"] = Field(  # noqa: N815
        default="auto", description='Discriminator\'s learning rate; "auto" as for lr_G.'
    )
    betas: tuple[float, float] = Field(default=(0.0, 0.99), description="Adam's decay rates.")
    gamma: float | Literal["auto"] = Field(
        default="auto", description='Weight of R1; "auto" = 0.0002 resolution^2 / batch.'
    )
    r1_interval: int = Field(default=16, ge=0, description="Steps between R1 penalties; 0 = none.")
    path_interval: int = Field(default=4, ge=0, description="Steps between path-length penalties; 0 = none.")
    path_weight: float = Field(default=2.0, ge=0, description="Weight of the path-length penalty.")
    path_batch_shrink: int = Field(default=2, ge=1, description="The path-length penalty sees 1 / this of the batch.")
    style_mixing: float = Field(default=0.9, ge=0, le=1, description="Share of steps whose images mix two latents.")
    ema_kimg: float | Literal["auto"] = Field(
        default="auto", description='Half-life of the averaged generator in kimg; "auto" = batch * 10 / 32.'
    )
    ema_rampup: float | None = Field(
        default=0.05, gt=0, description="The half-life is at most this share of the images seen; none: never shortened."
    )
    tick_kimg: float = Field(default=4.0, gt=0, description="kimg between status lines.")
    sample_kimg: float | None = Field(
        default=None, gt=0, description="kimg between sample grids; none: with checkpoints."
    )
    snapshot_kimg: float = Field(default=200.0, gt=0, description="kimg between checkpoints.")
    keep_last: int = Field(default=3, ge=1, description="Checkpoints kept; older ones are deleted.")
    sample_columns: int = Field(default=8, ge=1, le=64, description="Columns of the sample grid.")
    sample_rows: int = Field(default=4, ge=1, le=64, description="Rows of the sample grid.")
    sample_seed: int = Field(default=0, ge=0, description="Seed of the sample grid's latents, apart from `seed`.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto = cuda where there is one."
    )
    threads: int = Field(default=0, ge=0, description="CPU threads of torch; 0 = torch's own choice.")

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution is {self.resolution} px, it must be a power of two: 32, 64, 128, 256, ...")
        group = min(self.network.minibatch_group, self.batch)
        for name, size in (("batch", self.batch), ("micro_batch", self.micro_batch or self.batch)):
            if self.batch % size or size % group:
                raise ValueError(
                    f"{name} is {size}: it must divide the batch of {self.batch} and hold whole groups of {group} "
                    "images (network.minibatch_group)"
                )
        if self.path_interval and self.batch % self.path_batch_shrink:
            raise ValueError(f"batch is {self.batch}: path_batch_shrink {self.path_batch_shrink} must divide it")
        return self

    @property
    def learning_rates(self) -> tuple[float, float]:
        """Generator's and discriminator's learning rate with "auto" resolved."""
        auto = 0.002 if self.resolution >= 1024 else 0.0025
        return (auto if self.lr_G == "auto" else self.lr_G, auto if self.lr_D == "auto" else self.lr_D)

    @property
    def r1_gamma(self) -> float:
        """Weight of R1 with "auto" resolved."""
        return 0.0002 * self.resolution**2 / self.batch if self.gamma == "auto" else self.gamma

    @property
    def ema_half_life(self) -> float:
        """Half-life of the averaged generator in images."""
        return (self.batch * 10 / 32 if self.ema_kimg == "auto" else self.ema_kimg) * 1000

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole training: the last one reaches kimg."""
        return -(-round(self.kimg * 1000) // self.batch)


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


def resolve(preset: str, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """The preset's recipe with single values replaced; values within `network` are replaced one by one too."""
    if preset not in PRESETS:
        raise ValueError(f"no preset is called {preset!r}: choose one of {', '.join(sorted(PRESETS))}")
    values = dict(overrides or {})
    network = {**PRESETS[preset].get("network", {}), **values.pop("network", {})}
    return TrainConfig.model_validate({**PRESETS[preset], **values, "network": network})
