"""DCGAN: convolutions and little else (Radford et al. 2016, arXiv:1511.06434); small, to see whether things run.

Two things differ from the paper. Its batch normalisation makes an image depend on the batch it is in, so that a batch
worked off in parts would learn something else: here every image is normalised alone, over all channels and pixels
(layer normalisation, arXiv:1607.06450), which like the paper's keeps the relations between channels and has a learned
scale and bias. And pixels are repeated and convolved instead of a strided transposed convolution: no checkerboards.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from stylegan.architectures import networks
from stylegan.architectures.latent import LatentGenerator
from stylegan.architectures.layers import build_head, check_labels, sizes_up_to
from stylegan.architectures.networks import Judgement, Networks, Noise
from stylegan.config import DCGANConfig


def channels_by_size(config: DCGANConfig, resolution: int) -> list[int]:
    """Channels at 4, 8, ... px, up to half the resolution."""
    return [config.channels * resolution // (2 * size) for size in sizes_up_to(resolution // 2)]


def norm(channels: int) -> nn.Module:
    """Layer normalisation of every image with a scale and a bias a channel."""
    return nn.GroupNorm(1, channels)


class Synthesis(nn.Module):
    """From codes to images, size by size."""

    def __init__(self, config: DCGANConfig, w_dim: int, resolution: int) -> None:
        super().__init__()
        channels = channels_by_size(config, resolution)
        layers: list[nn.Module] = [nn.Linear(w_dim, channels[0] * 16), nn.Unflatten(1, (channels[0], 4, 4))]
        for inputs, outputs in pairwise([*channels, config.image_channels]):
            layers += [norm(inputs), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """[N, 1, w_dim] -> [N, C, H, W] in [-1, 1]; there is no noise to choose."""
        images: Tensor = self.layers(ws[:, 0])
        return images


class Discriminator(networks.Discriminator):
    """Strided convolutions down to 4 px; every image is judged alone."""

    def __init__(self, config: DCGANConfig, resolution: int) -> None:
        super().__init__()
        self.num_labels = config.num_labels
        channels = channels_by_size(config, resolution)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([config.image_channels, *reversed(channels)]):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), norm(outputs), nn.LeakyReLU(0.2)]
        del layers[1]  # the paper's first layer sees colours as they are
        self.layers = nn.Sequential(*layers)
        self.head = build_head(config, channels[0] * 16, config.num_labels)

    def features(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, C', 4, 4]."""
        features: Tensor = self.layers(images)
        return features

    def judge(self, features: Tensor, labels: Tensor | None = None) -> Judgement:
        """[N, C', 4, 4] -> logits [N]."""
        check_labels(labels, self.num_labels)
        return self.head.judge(features.flatten(1), labels)


def build(config: DCGANConfig, resolution: int) -> Networks:
    """DCGAN with fresh weights from torch's global generator: normal with deviation 0.02, as in the paper."""
    G = LatentGenerator(config, resolution, lambda w_dim: Synthesis(config, w_dim, resolution))
    D = Discriminator(config, resolution)
    for module in (*G.get_submodule("synthesis").modules(), *D.layers.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return Networks(G, D)
