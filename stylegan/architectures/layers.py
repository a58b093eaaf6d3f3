"""Layers that several architectures share."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.config import MappingConfig
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
        if bool(self.num_labels) != (labels is not None):
            wanted = f"labels of {self.num_labels} classes" if self.num_labels else "no labels"
            raise ValueError(f"this network takes {wanted}, it was given {'none' if labels is None else 'some'}")
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
