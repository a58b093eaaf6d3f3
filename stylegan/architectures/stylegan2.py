"""StyleGAN2: mapping network, skip generator and residual discriminator (Karras et al. 2020, arXiv:1912.04958).

Weights carry the reference's names (`synthesis.b8.conv0.affine.weight`), so its checkpoints map one to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.layers import Dense, MappingNetwork
from stylegan.architectures.networks import Judgement, Networks, Noise
from stylegan.config import StyleConfig, StyleGAN2Config
from stylegan.operators import (
    bias_act,
    downsampling_conv2d,
    minibatch_std,
    modulated_conv2d,
    resample_filter,
    upsample2d,
)


class SynthesisLayer(nn.Module):
    """Modulated 3 x 3 convolution, noise, bias, leaky ReLU."""

    noise_const: Tensor
    kernel: Tensor

    def __init__(
        self, config: StyleGAN2Config, inputs: int, outputs: int, resolution: int, *, up: bool = False
    ) -> None:
        super().__init__()
        self.up = up
        self.clamp = config.conv_clamp
        self.affine = Dense(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("kernel", resample_filter(), persistent=False)
        if config.noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, H, W]; noise [N or 1, 1, H, W]."""
        x = modulated_conv2d(x, self.weight, self.affine(w), upsample=self.kernel if self.up else None)
        if noise is not None:
            x = x + noise * self.noise_strength
        return bias_act(x, self.bias, activation="lrelu", clamp=self.clamp)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to colours, without demodulation."""

    def __init__(self, config: StyleGAN2Config, inputs: int) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.affine = Dense(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, 3, H, W]."""
        style = self.affine(w) * self.weight_gain
        return bias_act(modulated_conv2d(x, self.weight, style, demodulate=False), self.bias, clamp=self.clamp)


class SynthesisBlock(nn.Module):
    """The layers of one resolution."""

    kernel: Tensor

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__()
        outputs = config.channels(resolution)
        self.register_buffer("kernel", resample_filter(), persistent=False)
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = SynthesisLayer(config, config.channels(resolution // 2), outputs, resolution, up=True)
        self.conv1 = SynthesisLayer(config, outputs, outputs, resolution)
        self.torgb = ToRGB(config, outputs)
        self.num_convs = 1 if resolution == 4 else 2

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Iterator[Tensor],
        noise: Iterator[Tensor | None],
        rgb_w: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Features and picture at this resolution from those at half of it."""
        if x is None:
            w = next(ws)
            x = self.const[None].expand(len(w), -1, -1, -1).contiguous(memory_format=torch.channels_last)
            x = self.conv1(x, w, next(noise))
        else:
            x = self.conv0(x, next(ws), next(noise))
            x = self.conv1(x, next(ws), next(noise))
        colours = self.torgb(x, rgb_w)
        return x, colours if image is None else upsample2d(image, self.kernel) + colours


class Synthesis(nn.Module):
    """From w for every layer to a picture, as a sum of pictures of every resolution."""

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__()
        self.resolutions = [2**i for i in range(2, int(math.log2(resolution)) + 1)]
        self.has_noise = config.noise
        for size in self.resolutions:
            self.add_module(f"b{size}", SynthesisBlock(config, size))
        self.num_ws = 2 * len(self.resolutions)
        # Width of the noise of every layer, in order: 4, 8, 8, 16, 16, ...
        self.noise_sizes = [size for size in self.resolutions for _ in range(1 if size == 4 else 2)]

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks from 4 px up."""
        return [cast(SynthesisBlock, self.get_submodule(f"b{size}")) for size in self.resolutions]

    def _noise(self, noise: Noise) -> list[Tensor | None]:
        if not self.has_noise or noise == "none":
            return [None] * len(self.noise_sizes)
        if noise == "const":
            layers = [m for block in self.blocks for m in block.children() if isinstance(m, SynthesisLayer)]
            return [layer.noise_const for layer in layers]
        assert not isinstance(noise, str)
        assert len(noise) == len(self.noise_sizes)
        return list(noise)

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, 3, H, W] about [-1, 1]; noise: const, none, or one map a layer [N, 1, h, h]."""
        maps = iter(self._noise(noise))
        x: Tensor | None = None
        image: Tensor | None = None
        first = 0
        for block in self.blocks:
            # ToRGB shares its w with the first layer of the next block.
            styles = iter(ws[:, first : first + block.num_convs].unbind(dim=1))
            first += block.num_convs
            x, image = block(x, image, styles, maps, ws[:, first])
        assert image is not None
        return image


class Generator(networks.Generator):
    """Mapping and synthesis."""

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__(config.z_dim, config.w_dim, resolution, config.num_labels, config.image_channels)
        self.synthesis = Synthesis(config, resolution)
        self.num_ws = self.synthesis.num_ws
        self.noise_sizes = self.synthesis.noise_sizes if config.noise else []
        self.mapping = MappingNetwork(config, self.num_ws)


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
        if self.down:
            x = bias_act(downsampling_conv2d(x, weight, self.kernel), bias)
        else:
            x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, activation=self.activation, gain=1.0, clamp=clamp)


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a skip connection that halve the size."""

    def __init__(self, config: StyleConfig, resolution: int, *, first: bool) -> None:
        super().__init__()
        inputs, outputs, clamp = config.channels(resolution), config.channels(resolution // 2), config.conv_clamp
        self.fromrgb = Conv(3, inputs, 1, clamp=clamp) if first else None
        self.conv0 = Conv(inputs, inputs, 3, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, down=True, clamp=clamp)
        self.skip = Conv(inputs, outputs, 1, activation="linear", bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]."""
        if self.fromrgb is not None:
            x = self.fromrgb(x)
        skip: Tensor = self.skip(x, gain=math.sqrt(0.5))
        main: Tensor = self.conv1(self.conv0(x), gain=math.sqrt(0.5))
        return skip + main


class Epilogue(nn.Module):
    """From 4 x 4 features to a logit, with the spread of the group beside them."""

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        channels = config.channels(4)
        self.group = config.minibatch_group
        self.conv = Conv(channels + 1, channels, 3, clamp=config.conv_clamp)
        self.fc = Dense(channels * 16, channels, activation="lrelu")
        self.out = Dense(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] -> [N]."""
        x = self.conv(minibatch_std(x, self.group))
        logits: Tensor = self.out(self.fc(x.flatten(1)))
        return logits[:, 0]


class Discriminator(networks.Discriminator):
    """Residual discriminator."""

    def __init__(self, config: StyleConfig, resolution: int) -> None:
        super().__init__()
        self.resolutions = [2**i for i in range(int(math.log2(resolution)), 2, -1)]
        for size in self.resolutions:
            self.add_module(f"b{size}", DiscriminatorBlock(config, size, first=size == resolution))
        self.b4 = Epilogue(config)

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] in [-1, 1] -> [N, C, 4, 4]; an image's features depend on that image alone."""
        x = images.contiguous(memory_format=torch.channels_last)
        for size in self.resolutions:
            x = self.get_submodule(f"b{size}")(x)
        return x

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """[N, C, 4, 4] -> logits [N]; an image's logit depends on its whole group (see minibatch_std)."""
        return Judgement(self.b4(features))


def build(config: StyleGAN2Config, resolution: int) -> Networks:
    """StyleGAN2 with fresh weights from torch's global generator."""
    return Networks(Generator(config, resolution), Discriminator(config, resolution))
