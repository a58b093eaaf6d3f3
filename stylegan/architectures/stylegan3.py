"""StyleGAN3 (Karras et al. 2021, arXiv:2106.12423): a generator whose details move with the features they belong to.

Signals are thought of as continuous: every layer has a sampling rate (samples per unit length; the picture is one
unit wide), a cutoff and a transition band, and is drawn on a canvas 10 samples wider on every side. Configuration T
keeps translations; configuration R, of 1 x 1 convolutions and radial filters, rotations too. The discriminator is
StyleGAN2's. Weights carry the reference's names (`synthesis.L0_36_512.affine.weight`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from stylegan.alias_free import filtered_lrelu, lowpass, modulated_conv2d
from stylegan.architectures import networks
from stylegan.architectures.layers import Dense, MappingNetwork
from stylegan.architectures.networks import Networks, Noise
from stylegan.architectures.stylegan2_discriminator import build_discriminator
from stylegan.config import StyleGAN3Config
from stylegan.precision import Sized

NUM_CRITICAL = 2  # last layers that keep every frequency the picture can hold
FIRST_CUTOFF = 2.0  # cycles per unit length, of the input
FIRST_STOPBAND = 2**2.1
LAST_STOPBAND = 2**0.3  # relative to the cutoff
MARGIN = 10  # samples around the picture
TAPS = 6  # of a filter, per unit of its factor
OUTPUT_SCALE = 0.25


class Band(NamedTuple):
    """The signal that a layer puts out."""

    channels: int
    size: int  # samples across the canvas
    rate: int  # samples per unit length
    cutoff: float  # cycles per unit length
    half_width: float  # of the transition band


def bands(config: StyleGAN3Config, resolution: int) -> list[Band]:
    """The signal of every layer, the one that makes colours last (section 3.2 and figure 4c)."""
    count = config.num_layers
    last_cutoff = resolution / 2
    grow = 2 if config.architecture == "stylegan3-r" else 1  # 1 x 1 convolutions leave room for twice the channels
    found = []
    for i in range(count + 1):
        progress = min(i / (count - NUM_CRITICAL), 1.0)
        cutoff = FIRST_CUTOFF * (last_cutoff / FIRST_CUTOFF) ** progress
        stopband = FIRST_STOPBAND * (last_cutoff * LAST_STOPBAND / FIRST_STOPBAND) ** progress
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
        channels = round(min(grow * config.channel_base / 2 / cutoff, grow * config.channel_max))
        size = resolution if i >= count - 1 else rate + 2 * MARGIN
        half_width = max(stopband, rate / 2) - cutoff
        found.append(Band(config.image_channels if i == count else channels, size, rate, cutoff, half_width))
    return found


class SynthesisInput(nn.Module):
    """Sine waves of random frequencies within a disc, moved and turned as w asks (appendix F)."""

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.band = band
        freqs = torch.randn(band.channels, 2)
        radii = freqs.square().sum(dim=1, keepdim=True).sqrt()
        freqs = freqs / (radii * radii.square().exp() ** 0.25) * band.cutoff
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = Dense(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        # Where a point of the canvas comes from, the inverse of how the picture moves; set it from outside.
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)

    def forward(self, w: Tensor) -> Tensor:
        """[N, w_dim] -> [N, channels, size, size]."""
        band = self.band
        moves = self.moves(w)
        phases = self.phases + moves[:, :, 2] @ self.freqs.t()  # [N, channels]
        freqs = self.freqs @ moves[:, :, :2]  # [N, channels, 2]
        # A frequency beyond the band would alias: it fades out.
        excess = (freqs.norm(dim=2) - band.cutoff) / (band.rate / 2 - band.cutoff)
        amplitudes = (1 - excess).clamp(0, 1)
        steps = (torch.arange(band.size, device=w.device, dtype=w.dtype) + 0.5 - band.size / 2) / band.rate
        along_x, along_y = freqs[:, :, 0, None] * steps, freqs[:, :, 1, None] * steps  # [N, channels, size]
        angles = along_y[..., None] + along_x[:, :, None] + phases[:, :, None, None]
        waves = (2 * math.pi * angles).sin() * amplitudes[:, :, None, None]
        mixed: Tensor = (self.weight / math.sqrt(band.channels)) @ waves.flatten(2)
        return mixed.view(len(w), -1, band.size, band.size).contiguous(memory_format=torch.channels_last)

    def moves(self, w: Tensor) -> Tensor:
        """From a point of the picture to a point of the waves, [N, 2, 3]: w's rotation and translation, undone."""
        turn_x, turn_y, shift_x, shift_y = self.affine(w).unbind(dim=1)
        length = torch.hypot(turn_x, turn_y)
        cos, sin, x, y = turn_x / length, turn_y / length, shift_x / length, shift_y / length
        rows = [cos, -sin, sin * y - cos * x, sin, cos, -sin * x - cos * y]
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        turned: Tensor = torch.stack([*rows, zero, zero, one], dim=1).view(-1, 3, 3)
        return (turned @ self.transform)[:, :2]


class SynthesisLayer(Sized):
    """Modulated convolution, then leaky ReLU at twice the sampling rate between low-pass filters."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, config: StyleGAN3Config, source: Band, target: Band, *, critical: bool, colours: bool) -> None:
        super().__init__(target.rate)
        kernel = 3 if config.architecture == "stylegan3-t" and not colours else 1
        radial = config.architecture == "stylegan3-r" and not critical
        rate = max(source.rate, target.rate) * (1 if colours else 2)
        self.colours = colours
        self.clamp = config.conv_clamp
        self.style_gain = 1 / math.sqrt(source.channels) if colours else 1.0
        self.up, self.down = rate // source.rate, rate // target.rate
        self.affine = Dense(config.w_dim, source.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(target.channels, source.channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        up_taps, down_taps = (1 if f == 1 else TAPS * f for f in (self.up, self.down))
        self.register_buffer("up_filter", lowpass(up_taps, source.cutoff, 2 * source.half_width, rate))
        self.register_buffer(
            "down_filter", lowpass(down_taps, target.cutoff, 2 * target.half_width, rate, radial=radial)
        )
        convolved = source.size + kernel - 1
        self.conv_padding, self.padding = plan(
            convolved, kernel, target.size, (self.up, up_taps), (self.down, down_taps)
        )

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[N, inputs, h, w] -> [N, outputs, H, W]."""
        x = modulated_conv2d(
            self.enter(x),
            self.weight,
            self.affine(w) * self.style_gain,
            padding=self.conv_padding,
            demodulate=not self.colours,
            input_gain=self.magnitude_ema.rsqrt(),
        )
        return filtered_lrelu(
            x,
            self.bias,
            up_taps=self.up_filter,
            down_taps=self.down_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            gain=1.0 if self.colours else math.sqrt(2),
            slope=1.0 if self.colours else 0.2,
            clamp=self.clamp,
        )


def plan(
    convolved: int, kernel: int, size: int, up: tuple[int, int], down: tuple[int, int]
) -> tuple[int, tuple[int, int, int, int]]:
    """Padding of the convolution, and of the zero-stuffed signal after it, that give `size` samples.

    convolved is the width after a convolution that keeps every sample it touches; up and down are (factor, taps).
    Where the canvas narrows, the convolution leaves out the samples of which nothing would come.
    """
    (up_factor, up_taps), (down_factor, down_taps) = up, down
    total = (size - 1) * down_factor + 1 - convolved * up_factor + up_taps + down_taps - 2
    low = (total + up_factor) // 2
    high = total - low
    unused = max(min(-(low // up_factor), -high // up_factor), 0)
    low, high = low + unused * up_factor, high + unused * up_factor
    return kernel - 1 - unused, (low, high, low, high)


class Synthesis(nn.Module):
    """From w for every layer to a picture: sine waves through all layers, the last of which makes colours."""

    def __init__(self, config: StyleGAN3Config, resolution: int) -> None:
        super().__init__()
        targets = bands(config, resolution)
        self.num_ws = config.num_layers + 2
        self.magnitude_images = config.magnitude_kimg * 1000
        self.input = SynthesisInput(config.w_dim, targets[0])
        self.names = [f"L{i}_{band.size}_{band.channels}" for i, band in enumerate(targets)]
        for i, (name, source, target) in enumerate(zip(self.names, [targets[0], *targets], targets, strict=False)):
            critical, colours = i >= config.num_layers - NUM_CRITICAL, i == config.num_layers
            self.add_module(name, SynthesisLayer(config, source, target, critical=critical, colours=colours))

    @property
    def layers(self) -> list[SynthesisLayer]:
        """The layers after the input."""
        return [cast(SynthesisLayer, self.get_submodule(name)) for name in self.names]

    def signals(self, ws: Tensor) -> Iterator[Tensor]:
        """What the input and every layer put out, [N, channels, size, size] each."""
        first, *rest = ws.unbind(dim=1)
        x = self.input(first)
        yield x
        for layer, w in zip(self.layers, rest, strict=True):
            x = layer(x, w)
            yield x

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, num_ws, w_dim] -> [N, C, H, W] about [-1, 1]; there is no noise in this network."""
        (colours,) = deque(self.signals(ws), maxlen=1)
        return colours.to(ws.dtype) * OUTPUT_SCALE

    @torch.no_grad()
    def observe(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        """Images without a gradient, and the mean square of what every layer took in, [N, num_layers + 1]."""
        magnitudes, images = [], ws
        for x in self.signals(ws):
            magnitudes.append(torch.linalg.vector_norm(x, dim=(1, 2, 3), dtype=torch.float32).square() / x[0].numel())
            images = x
        return images.to(ws.dtype) * OUTPUT_SCALE, torch.stack(magnitudes[:-1], dim=1)

    @torch.no_grad()
    def track(self, magnitudes: Tensor) -> None:
        """Move the running means of the layers' magnitudes towards a whole batch's, [N, num_layers + 1]."""
        kept = 0.5 ** (len(magnitudes) / self.magnitude_images)
        for layer, magnitude in zip(self.layers, magnitudes.mean(dim=0), strict=True):
            layer.magnitude_ema.copy_(magnitude.lerp(layer.magnitude_ema, kept))


class Generator(networks.Generator):
    """Mapping and synthesis."""

    def __init__(self, config: StyleGAN3Config, resolution: int) -> None:
        super().__init__(config.z_dim, config.w_dim, resolution, config.num_labels, config.image_channels)
        self.synthesis = Synthesis(config, resolution)
        self.num_ws = self.synthesis.num_ws
        self.noise_sizes = []
        self.mapping = MappingNetwork(config, self.num_ws)

    def observe(self, ws: Tensor, noise: Noise = "const") -> tuple[Tensor, Tensor]:
        """Images without a gradient, and the mean square of what every layer took in, [N, num_layers + 1]."""
        return cast(Synthesis, self.synthesis).observe(ws)

    def track(self, w: Tensor, observed: Tensor) -> None:
        """Move the running means of w [N, w_dim] and of the layers' magnitudes towards those of a whole batch."""
        self.mapping.track(w)
        cast(Synthesis, self.synthesis).track(observed)


def build(config: StyleGAN3Config, resolution: int) -> Networks:
    """StyleGAN3 with fresh weights from torch's global generator."""
    return Networks(Generator(config, resolution), build_discriminator(config, resolution))
