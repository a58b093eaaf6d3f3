"""What can be asked of a training: the networks' shape and the recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from stylegan.augment_names import transform_names

DEFAULT_ARCHITECTURE = "stylegan2"


class NetworkConfig(BaseModel):
    """What every generator and discriminator has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str = Field(description="A name in stylegan.architectures.ARCHITECTURES.")
    z_dim: int = Field(default=512, ge=4, description="Size of the latent code.")
    w_dim: int = Field(default=512, ge=4, description="Size of the intermediate latent code.")
    num_labels: int = Field(default=0, ge=0, description="Classes that the networks are told; 0: none.")
    image_channels: int = Field(default=3, ge=1, le=4, description="1 grey, 3 RGB, 4 RGB and alpha.")
    minibatch_group: int = Field(default=4, ge=1, description="Images whose spread the discriminator sees together.")
    head: Literal["linear", "san"] = Field(
        default="linear", description="The discriminator's last layer; san: direction-normalised (arXiv:2301.12811)."
    )


class MappingConfig(NetworkConfig):
    """What every StyleGAN has: a mapping network, and channels by resolution."""

    mapping_layers: int = Field(default=8, ge=1, le=16, description="Layers of the mapping network.")
    mapping_lr_multiplier: float = Field(
        default=0.01, gt=0, description="Learning rate of the mapping network, relative."
    )
    channel_base: int = Field(
        default=32768, ge=64, description="Channels at a resolution are channel_base / resolution, ..."
    )
    channel_max: int = Field(default=512, ge=4, description="... and at most so many.")

    def channels(self, resolution: int) -> int:
        """Channels of the layers at one resolution."""
        return min(self.channel_base // resolution, self.channel_max)


class StyleConfig(MappingConfig):
    """What StyleGAN2 and 3 share beside it: StyleGAN2's discriminator."""

    conv_clamp: float | None = Field(
        default=None, gt=0, description="Activations are clamped to +- this; none: not at all."
    )
    discriminator: Literal["resnet", "skip", "orig"] = Field(
        default="resnet", description="How the discriminator joins resolutions (Karras et al. 2020, figure 7)."
    )
    mapping_layers_D: int = Field(  # noqa: N815
        default=8, ge=1, le=16, description="Layers of the discriminator's mapping of labels."
    )
    minibatch_channels: int = Field(
        default=1, ge=0, description="Groups of channels whose spread the discriminator sees; 0: none of it."
    )


class StyleGAN2Config(StyleConfig):
    """The shape of a StyleGAN2."""

    architecture: Literal["stylegan2"] = "stylegan2"
    generator: Literal["skip", "resnet", "orig"] = Field(
        default="skip", description="How the generator joins resolutions (Karras et al. 2020, figure 7)."
    )
    noise: bool = Field(default=True, description="Whether the generator adds noise to its layers.")


class StyleGAN1Config(MappingConfig):
    """The shape of a StyleGAN (arXiv:1812.04948)."""

    architecture: Literal["stylegan1"] = "stylegan1"
    channel_base: int = Field(
        default=16384, ge=64, description="Channels at a resolution are channel_base / resolution, ..."
    )
    noise: bool = Field(default=True, description="Whether the generator adds noise to its layers.")


class StyleGAN3Config(StyleConfig):
    """The shape of a StyleGAN3 (arXiv:2106.12423): t keeps translations, r keeps rotations too.

    r's generator has twice the channels that channel_base and channel_max say, the discriminator has not.
    """

    architecture: Literal["stylegan3-t", "stylegan3-r"]
    mapping_layers: int = Field(default=2, ge=1, le=16, description="Layers of the mapping network.")
    conv_clamp: float | None = Field(
        default=256, gt=0, description="Activations are clamped to +- this; none: not at all."
    )
    num_layers: int = Field(default=14, ge=3, description="Layers of the synthesis network, the last one aside.")
    magnitude_kimg: float = Field(
        default=20.0, gt=0, description="Half-life of the running means of the layers' input magnitudes in kimg."
    )


class R3GANConfig(NetworkConfig):
    """The shape of an R3GAN (arXiv:2501.05441, appendix); the defaults are its for faces and for CIFAR-10."""

    architecture: Literal["r3gan"] = "r3gan"
    z_dim: int = Field(default=64, ge=4, description="Size of the latent code.")
    w_dim: Literal[0] = Field(default=0, description="None: there is no mapping network.")
    minibatch_group: Literal[1] = Field(default=1, description="One: its discriminator sees every image alone.")
    channel_base: int = Field(
        default=24576, ge=64, description="Channels at a resolution are channel_base / resolution, ..."
    )
    channel_max: int = Field(default=768, ge=4, description="... and at most so many.")
    blocks: int = Field(default=2, ge=1, description="Residual blocks at every resolution.")
    expansion: int = Field(default=2, ge=1, description="How many times wider a block is inside.")
    group_width: int = Field(default=16, ge=1, description="Channels that a grouped convolution sees together.")

    def channels(self, resolution: int) -> int:
        """Channels between the blocks at one resolution."""
        return min(self.channel_base // resolution, self.channel_max)


class DCGANConfig(NetworkConfig):
    """The shape of a DCGAN (arXiv:1511.06434): small, for smoke tests."""

    architecture: Literal["dcgan"] = "dcgan"
    z_dim: int = Field(default=100, ge=4, description="Size of the latent code.")
    w_dim: Literal[0] = Field(default=0, description="None: there is no mapping network.")
    minibatch_group: Literal[1] = Field(default=1, description="One: its discriminator sees every image alone.")
    channels: int = Field(default=64, ge=4, description="Channels at half the resolution; each halving doubles them.")


def _architecture(value: Any) -> str:
    """The tag of the union below; a network of which none is named is a StyleGAN2."""
    if isinstance(value, dict):
        return str(value.get("architecture", DEFAULT_ARCHITECTURE))
    return str(getattr(value, "architecture", DEFAULT_ARCHITECTURE))


AnyNetworkConfig = Annotated[
    Annotated[StyleGAN2Config, Tag("stylegan2")]
    | Annotated[StyleGAN1Config, Tag("stylegan1")]
    | Annotated[StyleGAN3Config, Tag("stylegan3-t")]
    | Annotated[StyleGAN3Config, Tag("stylegan3-r")]
    | Annotated[R3GANConfig, Tag("r3gan")]
    | Annotated[DCGANConfig, Tag("dcgan")],
    Discriminator(_architecture),
]


class AugmentConfig(BaseModel):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["none", "fixed", "adaptive"] = Field(
        default="none", description="Whether the discriminator's pictures are augmented, and how p is set."
    )
    p: float = Field(default=0.0, ge=0, description="Probability of every transformation; adaptive: where it starts.")
    target: float = Field(default=0.6, ge=-1, le=1, description="Adaptive: what the mean sign of D(real) is held at.")
    kimg: float = Field(default=500.0, gt=0, description="Adaptive: kimg that p takes from 0 to 1 at the fastest.")
    interval: int = Field(default=4, ge=1, description="Adaptive: steps between adjustments.")
    transforms: tuple[str, ...] = Field(
        default=("bgc",),
        validate_default=True,
        description="Names of transformations, of their groups, or of sets of groups (stylegan.augment_names).",
    )

    @field_validator("transforms")
    @classmethod
    def _expanded(cls, asked: tuple[str, ...]) -> tuple[str, ...]:
        return transform_names(asked)


class GrowthConfig(BaseModel):
    """Progressive growing (Karras et al. 2018, arXiv:1710.10196): from a small size to the whole resolution."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: int = Field(default=8, ge=4, description="Width and height in px of the first size.")
    fade_kimg: float = Field(default=600.0, ge=0, description="kimg over which a new size fades in.")
    stable_kimg: float = Field(default=600.0, ge=0, description="kimg that a size is trained for once it is there.")
    batch: dict[int, int] = Field(default={}, description="Images a step by size; other sizes: train.batch.")
    lr: dict[int, float] = Field(default={}, description="Learning rate by size; other sizes: lr_G and lr_D.")


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
    network: AnyNetworkConfig = Field(default=StyleGAN2Config(), description="Shape of the networks.")
    lr_G: float | Literal["auto"] = Field(  # noqa: N815
        default="auto", description='Generator\'s learning rate; "auto" = 0.002 from 1024 px up, 0.0025 below.'
    )
    lr_D: float | Literal["auto"] = Field(  # noqa: N815
        default="auto", description='Discriminator\'s learning rate; "auto" as for lr_G.'
    )
    betas: tuple[float, float] = Field(default=(0.0, 0.99), description="Adam's decay rates.")
    generator_interval: int = Field(default=1, ge=1, description="Steps of the discriminator for one of the generator.")
    loss: Literal["logistic", "wgan", "relativistic"] = Field(
        default="logistic", description="A name in stylegan.losses.LOSSES."
    )
    penalty: Literal["r1", "r1+r2", "gradient"] = Field(
        default="r1", description="On the discriminator's gradient at reals, at reals and fakes, or between them."
    )
    gamma: float | Literal["auto"] = Field(
        default="auto", description='Weight of the penalty; "auto" = 0.0002 resolution^2 / batch, of "gradient" 10.'
    )
    r1_interval: int = Field(
        default=16, ge=0, description="Steps between penalties; 1 = one step with the loss, 0 = none."
    )
    drift: float = Field(default=0.0, ge=0, description="Weight of the squared logits of reals (wgan: 0.001).")
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
    augment: AugmentConfig = Field(default=AugmentConfig(), description="Augmentation of what the discriminator sees.")
    blur_width: float = Field(
        default=0.0, ge=0, description="px by which what the discriminator sees is blurred at first (stylegan3-r: 10)."
    )
    blur_kimg: float = Field(default=200.0, gt=0, description="kimg over which that blur fades out.")
    growth: GrowthConfig | None = Field(default=None, description="Progressive growing; none: whole size at once.")
    freeze_D: int = Field(  # noqa: N815
        default=0, ge=0, description="The discriminator's first so many blocks stay as the donor's (freeze-D)."
    )
    tick_kimg: float = Field(default=4.0, gt=0, description="kimg between status lines.")
    sample_kimg: float | None = Field(
        default=None, gt=0, description="kimg between sample grids; none: with checkpoints."
    )
    snapshot_kimg: float = Field(default=200.0, gt=0, description="kimg between checkpoints.")
    keep_last: int = Field(default=3, ge=1, description="Checkpoints kept; older ones are deleted.")
    stop_on: tuple[Literal["discriminator_overfits", "imbalance", "collapse", "droplets", "exploding"], ...] = Field(
        default=(), description="Alarms (stylegan.health.ALARMS) that end the training, saved and done."
    )
    sample_columns: int = Field(default=8, ge=1, le=64, description="Columns of the sample grid.")
    sample_rows: int = Field(default=4, ge=1, le=64, description="Rows of the sample grid.")
    sample_seed: int = Field(default=0, ge=0, description="Seed of the sample grid's latents, apart from `seed`.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="Number format of the layers at the highest resolutions."
    )
    low_precision_sizes: int = Field(
        default=4, ge=0, description="How many of the highest resolutions work in `precision`."
    )
    compile: bool = Field(default=False, description="Whether torch.compile makes one graph of every phase.")
    cache: Literal["auto", "none", "ram", "device"] = Field(
        default="auto", description="Where decoded faces are kept; auto: where they fit."
    )
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
        """Weight of the penalty with "auto" resolved."""
        if self.gamma != "auto":
            return self.gamma
        return 10.0 if self.penalty == "gradient" else 0.0002 * self.resolution**2 / self.batch

    @property
    def rules(self) -> str:
        """The numbers that "auto" stands for here, and by which rule."""
        lr_G, lr_D = self.learning_rates
        auto_lr = "auto: 0.002 from 1024 px up, 0.0025 below"
        auto_gamma = "auto: 10 for a gradient penalty" if self.penalty == "gradient" else "auto: 0.0002 px^2 / batch"
        words = [
            f"lr_G {lr_G:g}" + (f" ({auto_lr})" if self.lr_G == "auto" else ""),
            f"lr_D {lr_D:g}" + (f" ({auto_lr})" if self.lr_D == "auto" else ""),
            f"gamma {self.r1_gamma:g}" + (f" ({auto_gamma})" if self.gamma == "auto" else ""),
            f"ema_kimg {self.ema_half_life / 1000:g}" + (" (auto: batch * 10 / 32)" if self.ema_kimg == "auto" else ""),
        ]
        return ", ".join(words)

    @property
    def ema_half_life(self) -> float:
        """Half-life of the averaged generator in images."""
        return (self.batch * 10 / 32 if self.ema_kimg == "auto" else self.ema_kimg) * 1000

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole training: the last one reaches kimg."""
        return -(-round(self.kimg * 1000) // self.batch)
