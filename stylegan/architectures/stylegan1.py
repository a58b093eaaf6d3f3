"""StyleGAN: mapping network, AdaIN generator and discriminator, grown progressively (Karras et al. 2019).

arXiv:1812.04948, figure 1 and appendix C; growing as in Karras et al. 2018 (arXiv:1710.10196), figure 2. Both networks
work at `growth.size` px: layers of larger sizes rest, and `num_ws` and `noise_sizes` are those of the present size.

Weights of rosinality/style-based-gan-pytorch give the same numbers by a table of names and factors. With s = 4 * 2^i in
the generator, s = 1024 / 2^i in the discriminator, j = 1, 2, C channels, he(n) = sqrt(2 / n), and lr the multiplier of
the mapping network's learning rate (its layers stand at 1, 3, 5, ... of `style`; the mean of w is not in the file):

    style.{2k+1}.linear                             mapping.fc{k}           weight / lr, bias / (lr * sqrt(2))
    generator.progression.0.conv1.input             synthesis.b4.const      [0]
    generator.progression.i.conv1.1.conv            synthesis.b{s}.conv0    weight_orig is weight
    generator.progression.i.conv1.0 (128 px up)     synthesis.b{s}.conv0    weight.transpose(0, 1).flip(2, 3) / 4
    generator.progression.i.conv2.conv              synthesis.b{s}.conv1    weight_orig is weight
    generator.progression.i.noise{j}.weight_orig    synthesis.b{s}.style{j-1}.noise_strength    [0, :, 0, 0] * he(C)
    generator.progression.i.adain{j}.style.linear   synthesis.b{s}.style{j-1}.affine            weight * sqrt(2)
    generator.to_rgb.i.conv                         synthesis.b{s}.torgb    weight_orig is weight
    from_rgb.i.0.conv                               b{s}.fromrgb            weight_orig is weight
    progression.i.conv1.0.conv, conv2.1[.conv]      b{s}.conv0, b{s}.conv1  weight_orig or weight is weight
    progression.8.conv1.0.conv, conv2.0.conv        b4.conv, b4.fc          weight_orig is weight
    linear.linear                                   b4.out                  weight * sqrt(2)

Its `weight` and `weight_flip` of [C, 1, 3, 3] are the constant blur. Its noise is one map a size, ours one a layer.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.layers import (
    Dense,
    MappingNetwork,
    build_head,
    check_growth,
    check_labels,
    fade_in,
    sizes_up_to,
)
from stylegan.architectures.networks import Growth, Judgement, Networks, Noise
from stylegan.config import StyleGAN1Config
from stylegan.operators import minibatch_std, resample_filter

ADAIN_EPS = 1e-5


def blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Images [N, C, H, W] filtered with the 3 x 3 kernel, zero beyond their edges."""
    return F.conv2d(x, kernel.to(x)[None, None].expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def nearest_upsampling_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """Pixels repeated to twice the size, then a 3 x 3 convolution, as one transposed convolution.

    Repeating is itself one with a kernel of 2 x 2 ones; the two kernels together are 4 x 4, and no pixel is multiplied
    twice by the same weight: 4 multiplications a pixel and channel instead of 9.
    """
    doubled = F.avg_pool2d(weight.flip(2, 3), 2, stride=1, padding=1, divisor_override=1)
    return F.conv_transpose2d(x, doubled.transpose(0, 1), stride=2, padding=1)


def averaging_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """A 3 x 3 convolution, then pixels averaged two by two to half the size, as one convolution of 4 x 4."""
    return F.conv2d(x, F.avg_pool2d(weight, 2, stride=1, padding=1), stride=2, padding=1)


class Conv(nn.Module):
    """Convolution with equalised learning rate: He's constant scales the weights as they are used."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, resample: str = "") -> None:
        super().__init__()
        self.resample = resample
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_gain = math.sqrt(2 / (inputs * size**2))
        if resample:
            self.register_buffer("kernel", resample_filter((1.0, 2.0, 1.0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, H, W]: twice, half or the same size; a 4 x 4 kernel leaves one pixel."""
        weight = self.weight * self.weight_gain
        if self.resample == "up":
            # The blur sums to one, so but for the edges the bias could as well come before it.
            return blur(nearest_upsampling_conv2d(x, weight) + self.bias[:, None, None], self.kernel)
        if self.resample == "down":
            return averaging_conv2d(blur(x, self.kernel), weight) + self.bias[:, None, None]
        return F.conv2d(x, weight, self.bias, padding=1 if weight.shape[-1] == 3 else 0)


class Style(nn.Module):
    """What follows every convolution of the generator: noise, leaky ReLU, AdaIN."""

    noise_const: Tensor

    def __init__(self, config: StyleGAN1Config, channels: int, resolution: int) -> None:
        super().__init__()
        self.affine = Dense(config.w_dim, 2 * channels)
        with torch.no_grad():
            self.affine.bias[:channels] = 1.0
        if config.noise:
            self.noise_strength = nn.Parameter(torch.zeros(channels))
            self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """[N, C, H, W] in a new style; noise [N or 1, 1, H, W]."""
        if noise is not None:
            x = x + noise * self.noise_strength[:, None, None]
        return adain(F.leaky_relu(x, 0.2), self.affine(w))


def adain(x: Tensor, style: Tensor) -> Tensor:
    """Every channel of every image brought to the style's spread and mean (Karras et al. 2019, eq. 1).

    x [N, C, H, W]; style [N, 2 C]: scales, then biases.
    """
    scale, bias = style[:, :, None, None].chunk(2, dim=1)
    return torch.addcmul(bias, F.instance_norm(x, eps=ADAIN_EPS), scale)


class SynthesisBlock(nn.Module):
    """The layers of one size."""

    def __init__(self, config: StyleGAN1Config, resolution: int) -> None:
        super().__init__()
        channels = config.channels(resolution)
        if resolution == 4:
            self.const = nn.Parameter(torch.ones(channels, 4, 4))
        else:
            self.conv0 = Conv(config.channels(resolution // 2), channels, 3, resample="up")
        self.style0 = Style(config, channels, resolution)
        self.conv1 = Conv(channels, channels, 3)
        self.style1 = Style(config, channels, resolution)
        self.torgb = Conv(channels, config.image_channels, 1)

    def forward(self, x: Tensor | None, ws: Tensor, noise: list[Tensor | None]) -> Tensor:
        """Features of this size from those of half of it, or from none; ws [N, 2, w_dim]."""
        if x is None:
            x = self.const[None].expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        else:
            x = self.conv0(x)
        x = self.style0(x, ws[:, 0], noise[0])
        styled: Tensor = self.style1(self.conv1(x), ws[:, 1], noise[1])
        return styled


class Synthesis(nn.Module):
    """From w for every layer to images of the present size."""

    def __init__(self, config: StyleGAN1Config, resolution: int) -> None:
        super().__init__()
        self.has_noise = config.noise
        self.growth = Growth(resolution, 1.0)
        for size in sizes_up_to(resolution):
            self.add_module(f"b{size}", SynthesisBlock(config, size))

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks at work, from 4 px up."""
        return [cast(SynthesisBlock, self.get_submodule(f"b{size}")) for size in sizes_up_to(self.growth.size)]

    def _noise(self, noise: Noise, blocks: list[SynthesisBlock]) -> list[Tensor | None]:
        if not self.has_noise or noise == "none":
            return [None] * (2 * len(blocks))
        if noise == "const":
            return [style.noise_const for block in blocks for style in (block.style0, block.style1)]
        assert not isinstance(noise, str)
        assert len(noise) == 2 * len(blocks)
        return list(noise)

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, size, size] about [-1, 1]; noise: const, none, or one map a layer."""
        blocks = self.blocks
        maps = self._noise(noise, blocks)
        previous: Tensor | None = None
        x: Tensor | None = None
        for i, block in enumerate(blocks):
            previous, x = x, block(x, ws[:, 2 * i : 2 * i + 2], maps[2 * i : 2 * i + 2])
        images: Tensor = blocks[-1].torgb(x)
        if previous is None or self.growth.alpha == 1:
            return images
        return fade_in(blocks[-2].torgb(previous), images, self.growth.alpha)


class Generator(networks.Generator):
    """Mapping and synthesis."""

    def __init__(self, config: StyleGAN1Config, resolution: int) -> None:
        super().__init__(config.z_dim, config.w_dim, resolution, config.num_labels, config.image_channels)
        self.synthesis: Synthesis = Synthesis(config, resolution)
        self.mapping: MappingNetwork = MappingNetwork(config, 0)
        self.grow(Growth(resolution, 1.0))

    def grow(self, growth: Growth) -> None:
        """Make images of another size from now on, with as many styles and noise maps as that takes."""
        check_growth(growth, self.resolution)
        sizes = [size for size in sizes_up_to(growth.size) for _ in range(2)]
        self.synthesis.growth = growth
        self.num_ws = self.mapping.num_ws = len(sizes)
        self.noise_sizes = sizes if self.synthesis.has_noise else []


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve the size; the first block at work makes features of colours before."""

    def __init__(self, config: StyleGAN1Config, resolution: int) -> None:
        super().__init__()
        inputs, outputs = config.channels(resolution), config.channels(resolution // 2)
        self.fromrgb = Conv(config.image_channels, inputs, 1)
        self.conv0 = Conv(inputs, outputs, 3)
        self.conv1 = Conv(outputs, outputs, 3, resample="down")

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]."""
        return F.leaky_relu(self.conv1(F.leaky_relu(self.conv0(x), 0.2)), 0.2)


class Epilogue(nn.Module):
    """From 4 x 4 features to a logit, with the spread of the group beside them."""

    def __init__(self, config: StyleGAN1Config) -> None:
        super().__init__()
        channels = config.channels(4)
        self.group = config.minibatch_group
        self.fromrgb = Conv(config.image_channels, channels, 1)
        self.conv = Conv(channels + 1, channels, 3)
        self.fc = Conv(channels, channels, 4)
        self.out = build_head(config, channels, config.num_labels)

    def judge(self, x: Tensor, labels: Tensor | None) -> Judgement:
        """[N, C, 4, 4] -> [N]; of a network with labels, the logit of the image's own class."""
        x = F.leaky_relu(self.conv(minibatch_std(x, self.group)), 0.2)
        return self.out.judge(F.leaky_relu(self.fc(x), 0.2).flatten(1), labels)


class Discriminator(networks.Discriminator):
    """The generator's mirror image."""

    def __init__(self, config: StyleGAN1Config, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.num_labels = config.num_labels
        self.growth = Growth(resolution, 1.0)
        for size in sizes_up_to(resolution)[:0:-1]:
            self.add_module(f"b{size}", DiscriminatorBlock(config, size))
        self.b4 = Epilogue(config)

    def grow(self, growth: Growth) -> None:
        """Judge images of another size from now on."""
        check_growth(growth, self.resolution)
        self.growth = growth

    def _colours(self, images: Tensor, size: int) -> Tensor:
        block = cast(DiscriminatorBlock | Epilogue, self.get_submodule(f"b{size}"))
        return F.leaky_relu(block.fromrgb(images), 0.2)

    def features(self, images: Tensor) -> Tensor:
        """[N, C, size, size] in [-1, 1] -> [N, C', 4, 4]; an image's features depend on that image alone."""
        size, alpha = self.growth
        if images.shape[-1] != size:
            raise ValueError(f"this discriminator works at {size} px now, it was given images of {images.shape[-1]} px")
        images = images.contiguous(memory_format=torch.channels_last)
        x = self._colours(images, size)
        for present in sizes_up_to(size)[:0:-1]:
            x = self.get_submodule(f"b{present}")(x)
            if present == size and alpha < 1:
                x = torch.lerp(self._colours(F.avg_pool2d(images, 2), size // 2), x, alpha)
        return x

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """[N, C, 4, 4] -> logits [N]; an image's logit depends on its whole group (see minibatch_std)."""
        check_labels(labels, self.num_labels)
        return self.b4.judge(features, labels)


def build(config: StyleGAN1Config, resolution: int) -> Networks:
    """StyleGAN with fresh weights from torch's global generator."""
    return Networks(Generator(config, resolution), Discriminator(config, resolution))
