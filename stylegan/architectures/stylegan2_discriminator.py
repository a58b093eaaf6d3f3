"""StyleGAN2's discriminator: residual, with input skips, or plain and growing (Karras et al. 2020, figure 7).

StyleGAN3 is trained by it too. Weights carry the reference's names (`b32.conv0.weight`), so its checkpoints map one to
one.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.layers import (
    Dense,
    LabelledLayers,
    build_head,
    check_growth,
    check_labels,
    check_whole_size,
    sizes_up_to,
)
from stylegan.architectures.networks import Growth, Judgement
from stylegan.config import StyleConfig
from stylegan.operators import bias_act, conv2d, downsample2d, downsampling_conv2d, minibatch_std, resample_filter
from stylegan.precision import Sized


class Conv(nn.Module):
    """Convolution with equalised learning rate, bias and activation; optionally halves the size."""

    kernel: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        activation: str = "lrelu",
        bias: bool = True,
        down: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.down = down
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.weight_gain = 1 / math.sqrt(inputs * size**2)
        self.register_buffer("kernel", resample_filter(), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, H, W], times gain."""
        # The gain goes into the weights: leaky ReLU is homogeneous, and weights are smaller than features.
        gain_here = gain * (math.sqrt(2) if self.activation == "lrelu" else 1.0)
        weight = self.weight * (self.weight_gain * gain_here)
        bias = None if self.bias is None else self.bias * gain_here
        x = downsampling_conv2d(x, weight, self.kernel, bias) if self.down else conv2d(x, weight, bias)
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, activation=self.activation, gain=1.0, clamp=clamp)


class Block(Sized):
    """Two convolutions that halve the size."""

    def __init__(self, config: StyleConfig, resolution: int, *, fromrgb: bool) -> None:
        super().__init__(resolution)
        inputs, outputs, clamp = config.channels(resolution), config.channels(resolution // 2), config.conv_clamp
        if fromrgb:
            self.fromrgb = Conv(config.image_channels, inputs, 1, clamp=clamp)
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, down=True, clamp=clamp)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]."""
        x = self.enter(x)
        y: Tensor = self.conv1(self.conv0(x))
        return y


class ResidualBlock(Block):
    """Two convolutions, and one beside them, that halve the size."""

    def __init__(self, config: StyleConfig, resolution: int, *, fromrgb: bool) -> None:
        super().__init__(config, resolution, fromrgb=fromrgb)
        inputs, outputs = config.channels(resolution), config.channels(resolution // 2)
        self.skip = Conv(inputs, outputs, 1, activation="linear", bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]."""
        x = self.enter(x)
        skip: Tensor = self.skip(x, gain=math.sqrt(0.5))
        main: Tensor = self.conv1(self.conv0(x), gain=math.sqrt(0.5))
        return skip + main


class Epilogue(Sized):
    """From 4 x 4 features to a judgement, with the spread of the group beside them."""

    def __init__(self, config: StyleConfig, code_dim: int, *, fromrgb: bool) -> None:
        super().__init__(4)
        channels = config.channels(4)
        self.group, self.spread_channels = config.minibatch_group, config.minibatch_channels
        if self.spread_channels and channels % self.spread_channels:
            raise ValueError(
                f"network.minibatch_channels is {self.spread_channels}: it must divide the {channels} channels at 4 px"
            )
        if fromrgb:
            self.fromrgb = Conv(config.image_channels, channels, 1, clamp=config.conv_clamp)
        self.conv = Conv(channels + self.spread_channels, channels, 3, clamp=config.conv_clamp)
        self.fc = Dense(channels * 16, channels, activation="lrelu")
        self.out = build_head(config, channels, code_dim)

    def forward(self, x: Tensor, code: Tensor | None) -> Judgement:
        """The judgement of features [N, C, 4, 4], with classes of label codes [N, code_dim] too."""
        x = self.enter(x)
        if self.spread_channels:
            x = minibatch_std(x, self.group, self.spread_channels)
        x = self.conv(x)
        return self.out.judge(self.fc(x.flatten(1)), code)


def from_colours(block: Any, images: Tensor) -> Tensor:
    """A block's first features, from images in its number format."""
    x: Tensor = block.fromrgb(block.enter(images))
    return x


class Discriminator(networks.Discriminator):
    """Residual discriminator, the default: colours come in at the whole size, every block has a short cut."""

    block: type[Block] = ResidualBlock
    fromrgb_everywhere = False

    def __init__(self, config: StyleConfig, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.num_labels = config.num_labels
        self.sizes = sizes_up_to(resolution)[::-1]
        for size in self.sizes[:-1]:
            fromrgb = self.fromrgb_everywhere or size == resolution
            self.add_module(f"b{size}", self.block(config, size, fromrgb=fromrgb))
        code_dim = config.channels(4) if config.num_labels else 0
        if code_dim:
            layers, lr_multiplier = config.mapping_layers_D, config.mapping_lr_multiplier
            self.mapping = LabelledLayers(0, config.num_labels, code_dim, layers, lr_multiplier)
        self.b4 = Epilogue(config, code_dim, fromrgb=self.fromrgb_everywhere or resolution == 4)

    @property
    def stages(self) -> list[Any]:
        """The blocks from the highest resolution down, the epilogue last."""
        return [self.get_submodule(f"b{size}") for size in self.sizes]

    def grow(self, growth: Growth) -> None:
        """Networks that do not grow can only stay as they are."""
        check_whole_size(growth, self.resolution)

    def features(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, C', 4, 4]; an image's features depend on that image alone."""
        *blocks, _ = stages = self.stages
        x: Tensor = from_colours(stages[0], images.contiguous(memory_format=torch.channels_last))
        for block in blocks:
            x = block(x)
        return x

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """Logits [N] of features [N, C, 4, 4]; an image's logit depends on its whole group (see minibatch_std)."""
        check_labels(labels, self.num_labels)
        judgement: Judgement = self.b4(features, self._codes(labels))
        return judgement

    def _codes(self, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        codes: Tensor = self.mapping(None, labels)
        return codes / math.sqrt(codes.shape[1])


class SkipDiscriminator(Discriminator):
    """Discriminator with input skips: the image, halved again and again, comes in at every size."""

    block = Block
    fromrgb_everywhere = True
    kernel: Tensor

    def __init__(self, config: StyleConfig, resolution: int) -> None:
        super().__init__(config, resolution)
        self.register_buffer("kernel", resample_filter(), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, C', 4, 4]; an image's features depend on that image alone."""
        images = images.contiguous(memory_format=torch.channels_last)
        x: Tensor = from_colours(self.stages[0], images)
        for block, below in itertools.pairwise(self.stages):
            images = downsample2d(images, self.kernel)
            x = below.enter(block(x)) + from_colours(below, images)
        return x


class GrowingDiscriminator(Discriminator):
    """Plain discriminator that can grow: it takes images of the present size, and every size has its fromrgb."""

    block = Block
    fromrgb_everywhere = True

    def __init__(self, config: StyleConfig, resolution: int) -> None:
        super().__init__(config, resolution)
        self.grow(Growth(resolution, 1.0))

    def grow(self, growth: Growth) -> None:
        """Take images of growth.size px from now on; their first block has faded in by growth.alpha."""
        check_growth(growth, self.resolution)
        self.sizes = sizes_up_to(growth.size)[::-1]
        self.alpha = growth.alpha

    def features(self, images: Tensor) -> Tensor:
        """[N, C, size, size] in [-1, 1] -> [N, C', 4, 4]; an image's features depend on that image alone."""
        if images.shape[-1] != self.sizes[0]:
            raise ValueError(
                f"this discriminator has grown to {self.sizes[0]} px, it was given images of {images.shape[-1]} px"
            )
        images = images.contiguous(memory_format=torch.channels_last)
        x: Tensor = from_colours(self.stages[0], images)
        for i, (block, below) in enumerate(itertools.pairwise(self.stages)):
            x = block(x)
            if i == 0 and self.alpha < 1:
                x = torch.lerp(from_colours(below, F.avg_pool2d(images, 2)), below.enter(x), self.alpha)
        return x


DISCRIMINATORS = {"resnet": Discriminator, "skip": SkipDiscriminator, "orig": GrowingDiscriminator}


def build_discriminator(config: StyleConfig, resolution: int) -> Discriminator:
    """The discriminator that a config asks for, with fresh weights from torch's global generator."""
    return DISCRIMINATORS[config.discriminator](config, resolution)
