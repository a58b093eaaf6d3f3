"""R3GAN: residual networks without normalisation, noise or styles (Huang et al. 2024, arXiv:2501.05441).

Made for the relativistic pairing loss with the penalties R1 and R2, without path length and style mixing.

Weights of brownvc/R3GAN give the same numbers unchanged, under our names. With i its stage and n our `blocks`:

    G.Model.MainLayers.0.Layers.0.Basis, .LinearLayer    synthesis.b4.basis, synthesis.b4.linear
    G.Model.MainLayers.i.Layers.0.LinearLayer.Layer      synthesis.b{4 << i}.resize
    G.Model.MainLayers.i.Layers.k, k = 1 .. n            synthesis.b{4 << i}.blocks.{k - 1}
    G.Model.AggregationLayer.Layer, G.EmbeddingLayer     synthesis.torgb, mapping.embed
    D.Model.ExtractionLayer.Layer                        fromrgb
    D.Model.MainLayers.i.Layers.k, k = 0 .. n - 1        b{resolution >> i}.blocks.{k}
    D.Model.MainLayers.i.Layers.n.LinearLayer.Layer      b{resolution >> i}.resize
    D's last Layers.n.Basis, .LinearLayer                b4.basis, b4.head
    D.EmbeddingLayer                                     b4.embed

Within a block LinearLayer1, 2, 3 are conv0, 1, 2, and NonLinearity1, 2 hold the biases of conv0 and conv1.
`Resampler.Kernel` is the constant filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.latent import LatentGenerator
from stylegan.architectures.layers import SlicingHead, check_labels, sizes_up_to
from stylegan.architectures.networks import Judgement, Networks, Noise
from stylegan.config import R3GANConfig
from stylegan.operators import downsample2d, resample_filter, upsample2d

SLOPE = 0.2
LRELU_GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the second moment (He et al. 2015, arXiv:1502.01852)


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def scaled(layer: Layer, gain: float = 1.0) -> Layer:
    """The layer with weights drawn anew, so that it changes the second moment by gain^2, and biases of zero."""
    with torch.no_grad():
        layer.weight.normal_(0, gain / math.sqrt(layer.weight[0].numel()))
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


class ResidualBlock(nn.Module):
    """A wide, grouped 3 x 3 convolution between two of 1 x 1, and a way around the three."""

    def __init__(self, config: R3GANConfig, size: int, resolution: int) -> None:
        super().__init__()
        channels = config.channels(size)
        wide = channels * config.expansion
        if wide % config.group_width:
            raise ValueError(
                f"blocks at {size} px are {wide} channels wide, which makes no whole groups of {config.group_width}: "
                "change network.channel_base, channel_max, expansion or group_width"
            )
        # Fix-up (Zhang et al. 2019, arXiv:1901.09321): with L branches of m = 3 layers the first ones begin smaller by
        # L ^ (-1 / (2 m - 2)), the last one at zero.
        gain = LRELU_GAIN * (config.blocks * len(sizes_up_to(resolution))) ** -0.25
        self.conv0 = scaled(nn.Conv2d(channels, wide, 1), gain)
        self.conv1 = scaled(nn.Conv2d(wide, wide, 3, padding=1, groups=wide // config.group_width), gain)
        self.conv2 = scaled(nn.Conv2d(wide, channels, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        y = F.leaky_relu(self.conv0(x), SLOPE)
        branch: Tensor = self.conv2(F.leaky_relu(self.conv1(y), SLOPE))
        return x + branch


def residual_blocks(config: R3GANConfig, size: int, resolution: int) -> nn.Sequential:
    """The blocks of one size."""
    return nn.Sequential(*(ResidualBlock(config, size, resolution) for _ in range(config.blocks)))


def resizing(config: R3GANConfig, size: int, new_size: int) -> nn.Module:
    """From the channels of one size to those of the next; nothing where they are as many."""
    inputs, outputs = config.channels(size), config.channels(new_size)
    return nn.Identity() if inputs == outputs else scaled(nn.Conv2d(inputs, outputs, 1, bias=False))


class FirstStage(nn.Module):
    """From codes to features of 4 px: pictures of every channel, each as strong as the code says."""

    def __init__(self, config: R3GANConfig, w_dim: int, resolution: int) -> None:
        super().__init__()
        channels = config.channels(4)
        self.basis = nn.Parameter(torch.randn(channels, 4, 4))
        self.linear = scaled(nn.Linear(w_dim, channels, bias=False))
        self.blocks = residual_blocks(config, 4, resolution)

    def forward(self, w: Tensor) -> Tensor:
        """[N, w_dim] -> [N, C, 4, 4]."""
        x = self.basis * self.linear(w)[:, :, None, None]
        features: Tensor = self.blocks(x.contiguous(memory_format=torch.channels_last))
        return features


class UpStage(nn.Module):
    """Twice the size, then its blocks."""

    kernel: Tensor

    def __init__(self, config: R3GANConfig, size: int, resolution: int) -> None:
        super().__init__()
        self.register_buffer("kernel", resample_filter(), persistent=False)
        self.resize = resizing(config, size // 2, size)
        self.blocks = residual_blocks(config, size, resolution)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', 2 H, 2 W]."""
        features: Tensor = self.blocks(upsample2d(self.resize(x), self.kernel))
        return features


class DownStage(nn.Module):
    """The blocks of a size, then half of it."""

    kernel: Tensor

    def __init__(self, config: R3GANConfig, size: int, resolution: int) -> None:
        super().__init__()
        self.register_buffer("kernel", resample_filter(), persistent=False)
        self.blocks = residual_blocks(config, size, resolution)
        self.resize = resizing(config, size, size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]."""
        features: Tensor = self.resize(downsample2d(self.blocks(x), self.kernel))
        return features


class LastStage(nn.Module):
    """The blocks of 4 px, and the judgement: how much of every channel's picture there is, weighed."""

    def __init__(self, config: R3GANConfig, resolution: int) -> None:
        super().__init__()
        channels = config.channels(4)
        code_dim = channels if config.num_labels else 0
        self.blocks = residual_blocks(config, 4, resolution)
        self.basis = scaled(nn.Conv2d(channels, channels, 4, groups=channels, bias=False))
        self.head = SlicingHead(channels, code_dim) if config.head == "san" else Projection(channels, code_dim)
        if code_dim:
            self.embed = scaled(nn.Linear(config.num_labels, code_dim, bias=False), 1 / math.sqrt(code_dim))

    def judge(self, features: Tensor, labels: Tensor | None) -> Judgement:
        """[N, C, 4, 4] -> [N]."""
        return self.head.judge(self.basis(features).flatten(1), None if labels is None else self.embed(labels))


class Projection(nn.Linear):
    """A logit of features; with classes, their scalar product with the label's code (arXiv:1802.05637)."""

    def __init__(self, inputs: int, code_dim: int = 0) -> None:
        super().__init__(inputs, code_dim or 1, bias=False)
        scaled(self)

    def judge(self, h: Tensor, code: Tensor | None = None) -> Judgement:
        """Judgement of features h [N, inputs], with classes of label codes [N, code_dim] too."""
        y = self(h)
        return Judgement(y[:, 0] if code is None else (y * code).sum(dim=1))


class Synthesis(nn.Module):
    """From codes to images, size by size."""

    def __init__(self, config: R3GANConfig, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.sizes = sizes_up_to(resolution)
        self.b4 = FirstStage(config, w_dim, resolution)
        for size in self.sizes[1:]:
            self.add_module(f"b{size}", UpStage(config, size, resolution))
        self.torgb = scaled(nn.Conv2d(config.channels(resolution), config.image_channels, 1, bias=False))

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, 1, w_dim] -> [N, C, H, W] about [-1, 1]; there is no noise to choose."""
        x = self.b4(ws[:, 0])
        for size in self.sizes[1:]:
            x = self.get_submodule(f"b{size}")(x)
        images: Tensor = self.torgb(x)
        return images


class Discriminator(networks.Discriminator):
    """The generator's mirror image; every image is judged alone."""

    def __init__(self, config: R3GANConfig, resolution: int) -> None:
        super().__init__()
        self.num_labels = config.num_labels
        self.resolutions: Sequence[int] = sizes_up_to(resolution)[:0:-1]
        self.fromrgb = scaled(nn.Conv2d(config.image_channels, config.channels(resolution), 1, bias=False))
        for size in self.resolutions:
            self.add_module(f"b{size}", DownStage(config, size, resolution))
        self.b4 = LastStage(config, resolution)

    def features(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, C', 4, 4]."""
        x = self.fromrgb(images.contiguous(memory_format=torch.channels_last))
        for size in self.resolutions:
            x = self.get_submodule(f"b{size}")(x)
        features: Tensor = self.b4.blocks(x)
        return features

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """[N, C', 4, 4] -> logits [N]."""
        check_labels(labels, self.num_labels)
        return self.b4.judge(features, labels)


def build(config: R3GANConfig, resolution: int) -> Networks:
    """R3GAN with fresh weights from torch's global generator."""
    G = LatentGenerator(config, resolution, lambda w_dim: Synthesis(config, w_dim, resolution))
    return Networks(G, Discriminator(config, resolution))
