"""Layers that several architectures share."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.architectures.networks import Growth, Judgement
from stylegan.config import MappingConfig, NetworkConfig
from stylegan.operators import bias_act, normalize_second_moment

W_AVG_BETA = 0.998  # decay of the running mean of w, per step


class Dense(nn.Module):
    """A fully connected layer with equalised learning rate."""

    def __init__(
        self, inputs: int, outputs: int, *, activation: str = "linear", lr_multiplier: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([outputs], bias))
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        y = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return bias_act(y, activation=self.activation)


def check_labels(labels: Tensor | None, num_labels: int) -> None:
    """Raise ValueError unless labels are one-hot [N, num_labels], or none where the network knows no classes."""
    if labels is None and num_labels:
        raise ValueError(
            f"this network is told one of {num_labels} classes with every image and was given none: "
            f"give labels, one-hot [N, {num_labels}]"
        )
    if labels is not None and not num_labels:
        raise ValueError("this network knows no classes but was given labels: give none (labels=None)")
    if labels is not None and (labels.ndim != 2 or labels.shape[1] != num_labels):
        raise ValueError(
            f"labels are {list(labels.shape)}, this network knows {num_labels} classes: "
            f"give one row for every image, one-hot, [N, {num_labels}]"
        )


class LabelledLayers(nn.Module):
    """Dense layers over a latent, a label, or both, each brought to unit second moment first."""

    def __init__(self, z_dim: int, num_labels: int, w_dim: int, num_layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.num_labels = num_labels
        if num_labels:
            self.embed = Dense(num_labels, w_dim)
        sizes = [z_dim + (w_dim if num_labels else 0), *[w_dim] * num_layers]
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            self.add_module(f"fc{i}", Dense(inputs, outputs, activation="lrelu", lr_multiplier=lr_multiplier))

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """[N, w_dim] from z [N, z_dim], one-hot labels [N, num_labels], or both."""
        check_labels(labels, self.num_labels)
        parts = [] if z is None else [normalize_second_moment(z)]
        if labels is not None:
            parts.append(normalize_second_moment(self.embed(labels)))
        x = torch.cat(parts, dim=1)
        for i in range(self.num_layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x


class MappingNetwork(LabelledLayers):
    """From latent z to intermediate latent w (Karras et al. 2019, section 2)."""

    w_avg: Tensor

    def __init__(self, config: MappingConfig, num_ws: int) -> None:
        super().__init__(
            config.z_dim, config.num_labels, config.w_dim, config.mapping_layers, config.mapping_lr_multiplier
        )
        self.num_ws = num_ws
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """w [N, w_dim] of z [N, z_dim], before truncation and before it is repeated for the layers."""
        assert z is not None
        return super().forward(z.to(self.w_avg.dtype), labels)

    @torch.no_grad()
    def track(self, w: Tensor) -> None:
        """Move the running mean of w towards the mean of a whole batch, [N, w_dim]."""
        self.w_avg.copy_(w.mean(dim=0).lerp(self.w_avg, W_AVG_BETA))

    def truncate(self, w: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
        """w for every layer, [N, num_ws, w_dim], drawn towards the mean by psi in the first `cutoff` layers."""
        return truncated(w[:, None].repeat(1, self.num_ws, 1), self.w_avg, psi, cutoff)


def truncated(ws: Tensor, w_avg: Tensor, psi: float | Tensor, cutoff: int | None = None) -> Tensor:
    """ws [N, num_ws, w_dim] drawn towards w_avg by psi, one number or [num_ws], in the first `cutoff` layers."""
    if isinstance(psi, Tensor) and psi.ndim:
        psi = psi.to(ws)[:cutoff, None]
    elif psi == 1:
        return ws
    kept = ws[:, cutoff:] if cutoff is not None else ws[:, :0]
    return torch.cat([torch.lerp(w_avg, ws[:, :cutoff], psi), kept], dim=1)


class LinearHead(Dense):
    """The last layer of a discriminator: logits <w, h> + b; with classes, <W h + b, c>.

    There c is the code of an image's label, Miyato and Koyama 2018's projection (arXiv:1802.05637): its row of one-hot
    labels, or what a network makes of it.
    """

    def __init__(self, inputs: int, code_dim: int = 0) -> None:
        super().__init__(inputs, code_dim or 1)

    def judge(self, h: Tensor, code: Tensor | None = None) -> Judgement:
        """Judgement of features h [N, inputs], with classes of label codes [N, code_dim] too."""
        y = self(h)
        return Judgement(y[:, 0] if code is None else (y * code).sum(dim=1))


class SlicingHead(nn.Module):
    """The last layer of a discriminator whose direction is a unit vector: logits <w / |w|, h> (SAN, arXiv:2301.12811).

    The features h learn from the logits, for which the direction is a constant. The direction learns from the mean
    difference of `Judgement.direction` between fakes and reals, for which the features are one: it becomes the one
    along which they differ most, and what the generator minimises is a distance. With classes every label has a
    direction of its own, w = W^T c with c its code as above; W and the network that makes codes belong to the
    direction. There is no bias: it would be a feature of the direction's, the paper has none.
    """

    def __init__(self, inputs: int, code_dim: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(code_dim or 1, inputs))

    def judge(self, h: Tensor, code: Tensor | None = None) -> Judgement:
        """Judgement of features h [N, inputs], with classes of label codes [N, code_dim] too."""
        unit = F.normalize(self.weight if code is None else code @ self.weight, dim=1)
        return Judgement((h * unit.detach()).sum(dim=1), (h.detach() * unit).sum(dim=1))


Head = LinearHead | SlicingHead

HEADS: dict[str, type[LinearHead] | type[SlicingHead]] = {"linear": LinearHead, "san": SlicingHead}


def build_head(config: NetworkConfig, inputs: int, code_dim: int = 0) -> Head:
    """The last layer that a config asks for, from `inputs` features; code_dim: size of a label's code, 0: none."""
    return HEADS[config.head](inputs, code_dim)


def sizes_up_to(resolution: int) -> list[int]:
    """Widths in px of the layers of a network: 4, 8, 16, ... up to the resolution."""
    return [2**i for i in range(2, resolution.bit_length())]


def check_growth(growth: Growth, resolution: int) -> None:
    """Raise ValueError unless networks of this resolution have such a size."""
    if growth.size not in sizes_up_to(resolution):
        raise ValueError(f"networks of {resolution} px cannot grow to {growth.size} px: choose 4, 8, ... {resolution}")


def check_whole_size(growth: Growth, resolution: int) -> None:
    """Raise ValueError if a network that does not grow is asked for another size than its own."""
    if growth != Growth(resolution, 1.0):
        raise ValueError(
            f"this network has one size, {resolution} px, and cannot work at {growth.size} px: train it without "
            'growth, or take network.generator and network.discriminator "orig", or a stylegan1'
        )


def fade_in(half: Tensor, whole: Tensor, alpha: float) -> Tensor:
    """Images [N, C, H, W] on their way from those of half the size, [N, C, H / 2, W / 2], to those of the whole one.

    Progressive growing, Karras et al. 2018 (arXiv:1710.10196), figure 2: nearest neighbours, as reals are mixed too.
    """
    return torch.lerp(F.interpolate(half, scale_factor=2, mode="nearest"), whole, alpha)
