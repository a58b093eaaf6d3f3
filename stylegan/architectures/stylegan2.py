"""StyleGAN2's generator: mapping network, and skip, residual or growing synthesis.

Karras et al. 2020 (arXiv:1912.04958), sections 2 and 4, figure 7. Weights carry the reference's names
(`synthesis.b8.conv0.affine.weight`), so its checkpoints map one to one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.layers import Dense, MappingNetwork, check_growth, check_whole_size, fade_in, sizes_up_to
from stylegan.architectures.networks import Growth, Networks, Noise
from stylegan.architectures.stylegan2_discriminator import build_discriminator
from stylegan.config import StyleGAN2Config
from stylegan.operators import bias_act, conv2d, modulated_conv2d, resample_filter, upsample2d
from stylegan.precision import Sized


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

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, gain: float = 1.0) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, H, W], times gain; noise [N or 1, 1, H, W]."""
        x = modulated_conv2d(x, self.weight, self.affine(w), upsample=self.kernel if self.up else None)
        if noise is not None:
            x = x + (noise * self.noise_strength).to(x.dtype)
        clamp = None if self.clamp is None else self.clamp * gain
        return bias_act(x, self.bias, activation="lrelu", gain=math.sqrt(2) * gain, clamp=clamp)


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to colours, without demodulation."""

    def __init__(self, config: StyleGAN2Config, inputs: int) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.affine = Dense(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(config.image_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.image_channels))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, C, H, W] in the number format of w."""
        style = self.affine(w) * self.weight_gain
        x = modulated_conv2d(x, self.weight, style, demodulate=False)
        return bias_act(x, self.bias, clamp=self.clamp).to(w.dtype)


class UpsamplingSkip(nn.Module):
    """1 x 1 convolution and upsampling: the short cut past a residual block."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.weight_gain = 1 / math.sqrt(inputs)
        self.register_buffer("kernel", resample_filter(), persistent=False)

    def forward(self, x: Tensor, gain: float) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, 2 h, 2 w], times gain."""
        return upsample2d(conv2d(x, self.weight * (self.weight_gain * gain)), self.kernel)


class FirstBlock(nn.Module):
    """The layer of 4 x 4 px: it starts from a constant."""

    num_convs = 1

    def __init__(self, config: StyleGAN2Config, resolution: int, *, torgb: bool) -> None:
        super().__init__()
        channels = config.channels(resolution)
        self.const = nn.Parameter(torch.randn(channels, resolution, resolution))
        self.conv1 = SynthesisLayer(config, channels, channels, resolution)
        if torgb:
            self.torgb = ToRGB(config, channels)

    def forward(self, x: Tensor | None, ws: tuple[Tensor, ...], noise: list[Tensor | None]) -> Tensor:
        """[N, C, 4, 4]; nothing comes in, so x is None."""
        start = self.const[None].expand(len(ws[0]), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        y: Tensor = self.conv1(start, ws[0], noise[0])
        return y


class Block(Sized):
    """The two layers of one resolution."""

    num_convs = 2

    def __init__(self, config: StyleGAN2Config, resolution: int, *, torgb: bool) -> None:
        super().__init__(resolution)
        inputs, outputs = config.channels(resolution // 2), config.channels(resolution)
        self.conv0 = SynthesisLayer(config, inputs, outputs, resolution, up=True)
        self.conv1 = SynthesisLayer(config, outputs, outputs, resolution)
        if torgb:
            self.torgb = ToRGB(config, outputs)

    def forward(self, x: Tensor, ws: tuple[Tensor, ...], noise: list[Tensor | None]) -> Tensor:
        """[N, C, h, w] -> [N, C', 2 h, 2 w]."""
        x = self.enter(x)
        y: Tensor = self.conv1(self.conv0(x, ws[0], noise[0]), ws[1], noise[1])
        return y


class ResidualBlock(Block):
    """The two layers of one resolution with a short cut past them."""

    def __init__(self, config: StyleGAN2Config, resolution: int, *, torgb: bool) -> None:
        super().__init__(config, resolution, torgb=torgb)
        self.skip = UpsamplingSkip(config.channels(resolution // 2), config.channels(resolution))

    def forward(self, x: Tensor, ws: tuple[Tensor, ...], noise: list[Tensor | None]) -> Tensor:
        """[N, C, h, w] -> [N, C', 2 h, 2 w]."""
        x = self.enter(x)
        skip: Tensor = self.skip(x, gain=math.sqrt(0.5))
        main: Tensor = self.conv1(self.conv0(x, ws[0], noise[0]), ws[1], noise[1], gain=math.sqrt(0.5))
        return skip + main


class Stage(NamedTuple):
    """What the layers of one resolution made."""

    block: Block | FirstBlock
    x: Tensor  # features [N, C, h, h]
    w: Tensor  # of this resolution's ToRGB, [N, w_dim]: the same as the next block's first

    @property
    def image(self) -> Tensor:
        """The features' colours, [N, C, h, h]."""
        image: Tensor = self.block.torgb(self.x, self.w)
        return image


class Synthesis(nn.Module):
    """From w for every layer to an image; how resolutions are joined is the subclasses'."""

    block: type[Block] = Block
    torgb_everywhere = True

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.sizes = sizes_up_to(resolution)
        self.has_noise = config.noise
        for size in self.sizes:
            block = FirstBlock if size == 4 else self.block
            self.add_module(f"b{size}", block(config, size, torgb=self.torgb_everywhere or size == resolution))

    @property
    def num_ws(self) -> int:
        """Rows of ws: one a layer and one for the last ToRGB."""
        return 2 * len(self.sizes)

    @property
    def noise_sizes(self) -> list[int]:
        """Width of the noise of every layer, in order: 4, 8, 8, 16, 16, ..., or nothing without noise."""
        return [size for size in self.sizes for _ in range(1 if size == 4 else 2)] if self.has_noise else []

    @property
    def blocks(self) -> list[Block]:
        """The blocks from 4 px up."""
        return [cast(Block, self.get_submodule(f"b{size}")) for size in self.sizes]

    def grow(self, growth: Growth) -> None:
        """Networks that do not grow can only stay as they are."""
        check_whole_size(growth, self.resolution)

    def _noise(self, noise: Noise) -> Iterator[Tensor | None]:
        if not self.has_noise or noise == "none":
            return iter([None] * self.num_ws)
        if noise == "const":
            layers = [m for block in self.blocks for m in block.children() if isinstance(m, SynthesisLayer)]
            return iter([layer.noise_const for layer in layers])
        assert not isinstance(noise, str)
        assert len(noise) == len(self.noise_sizes)
        return iter(noise)

    def stages(self, ws: Tensor, noise: Noise) -> Iterator[Stage]:
        """Resolution by resolution from 4 px up."""
        maps, first, x = self._noise(noise), 0, None
        for block in self.blocks:
            *styles, w = ws[:, first : first + block.num_convs + 1].unbind(dim=1)
            x = block(x, styles, [next(maps) for _ in styles])
            yield Stage(block, x, w)
            first += block.num_convs


class SkipSynthesis(Synthesis):
    """The image is the sum of images of every resolution."""

    kernel: Tensor

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__(config, resolution)
        self.register_buffer("kernel", resample_filter(), persistent=False)

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, H, W] about [-1, 1]; noise: const, none, or one map a layer [N, 1, h, h]."""
        image: Tensor | None = None
        for stage in self.stages(ws, noise):
            image = stage.image if image is None else upsample2d(image, self.kernel) + stage.image
        assert image is not None
        return image


class ResidualSynthesis(Synthesis):
    """The image is made of the last features; every block has a short cut."""

    block = ResidualBlock
    torgb_everywhere = False

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, H, W] about [-1, 1]; noise: const, none, or one map a layer [N, 1, h, h]."""
        for stage in self.stages(ws, noise):
            last = stage
        return last.image


class GrowingSynthesis(Synthesis):
    """The image is made of the last features; it can grow, so every resolution has its ToRGB."""

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__(config, resolution)
        self.alpha = 1.0

    def grow(self, growth: Growth) -> None:
        """Make images of growth.size px from now on; their last block has faded in by growth.alpha."""
        check_growth(growth, self.resolution)
        self.sizes = sizes_up_to(growth.size)
        self.alpha = growth.alpha

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, size, size] about [-1, 1]; noise: as of the others, for the present layers."""
        before: Stage | None = None
        last: Stage | None = None
        for stage in self.stages(ws, noise):
            before, last = last, stage
        assert last is not None
        return last.image if before is None or self.alpha == 1 else fade_in(before.image, last.image, self.alpha)


SYNTHESES = {"skip": SkipSynthesis, "resnet": ResidualSynthesis, "orig": GrowingSynthesis}


class Generator(networks.Generator):
    """Mapping and synthesis."""

    def __init__(self, config: StyleGAN2Config, resolution: int) -> None:
        super().__init__(config.z_dim, config.w_dim, resolution, config.num_labels, config.image_channels)
        self.synthesis: Synthesis = SYNTHESES[config.generator](config, resolution)
        self.mapping: MappingNetwork = MappingNetwork(config, self.synthesis.num_ws)
        self._take_layers()

    def _take_layers(self) -> None:
        self.num_ws = self.mapping.num_ws = self.synthesis.num_ws
        self.noise_sizes = self.synthesis.noise_sizes

    def grow(self, growth: Growth) -> None:
        """Make images of growth.size px from now on: num_ws and noise_sizes are those of the present layers."""
        self.synthesis.grow(growth)
        self._take_layers()


def build(config: StyleGAN2Config, resolution: int) -> Networks:
    """StyleGAN2 with fresh weights from torch's global generator."""
    return Networks(Generator(config, resolution), build_discriminator(config, resolution))
