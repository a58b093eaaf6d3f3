"""The operators that StyleGAN2 is made of, in plain PyTorch: differentiable twice, on any device, without nvcc.

Filters are 1-D tensors of taps and stand for their outer product. The resampling filter of every network here is
[1, 3, 3, 1] / 8. Depthwise convolutions in channels_last order were the fastest exact form (benchmarks/train_step.py
measures them against the plain formulation). All compute in the number format of x: float32 weights are cast as they
are used, styles, demodulation and biases stay float32 until they meet x.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.derivatives import BiasLeakyReLU, Fir, fir, plain_graph

RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)

# Activations that bias_act knows beside linear and lrelu, and the gains of those that do not keep unit variance.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": F.softplus,
    "swish": F.silu,
}
GAINS = dict.fromkeys(("relu", "lrelu", "swish"), math.sqrt(2))


def resample_filter(taps: tuple[float, ...] = RESAMPLE_TAPS) -> Tensor:
    """The taps as a 2-D kernel of sum one, [len(taps), len(taps)]."""
    row = torch.tensor(taps)
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def upfirdn2d(
    x: Tensor,
    kernel: Tensor,
    *,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    flip: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """Images after zero-stuffing by `up`, padding, filtering and keeping every `down`-th pixel.

    x [N, C, H, W]; kernel [kh, kw]; up and down are (x, y); padding is (left, right, top, bottom) in px after
    zero-stuffing, negative values crop. `flip=False` convolves, `flip=True` correlates. This is the slow reference
    that the special cases below are tested against; the networks call those.
    """
    n, c, h, w = x.shape
    stuffed = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up[0] - 1, 0, 0, 0, up[1] - 1))
    padded = F.pad(stuffed.reshape(n, c, h * up[1], w * up[0]), padding)
    weight = (kernel if flip else kernel.flip(0, 1)).to(x) * gain
    return F.conv2d(padded, weight.expand(c, 1, *kernel.shape), stride=(down[1], down[0]), groups=c)


def resample(x: Tensor, kernel: Tensor, up: int, down: int, padding: tuple[int, int]) -> Tensor:
    """Zero-stuffing by `up`, padding before and after, correlation with the kernel, every `down`-th pixel."""
    if plain_graph():
        return fir(x, kernel, up, down, padding)
    y: Tensor = Fir.apply(x, kernel, up, down, padding)  # type: ignore[no-untyped-call]
    return y


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Images at twice the size, filtered with the symmetric 4 x 4 kernel (gain 4 keeps the brightness)."""
    return resample(x, kernel * 4, 2, 1, (2, 1))


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Images at half the size, filtered with the symmetric 4 x 4 kernel; discarded pixels are never computed."""
    return resample(x, kernel, 1, 2, (1, 1))


def upsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Images at twice the size: a 3 x 3 convolution (weights flipped, as the reference has it), then the filter.

    x [N, I, H, W], weight [O, I, 3, 3]. The stride-2 transposed convolution multiplies no stuffed zeros.
    """
    y = F.conv_transpose2d(x, weight.to(x.dtype).transpose(0, 1), stride=2)
    return resample(y, kernel * 4, 1, 1, (1, 1))


def downsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Images at half the size: the filter, then a convolution that computes the kept pixels only.

    x [N, I, H, W], weight [O, I, k, k] with k = 1 or 3, bias [O]. For k = 1 the filter itself keeps every second pixel.
    """
    if weight.shape[-1] == 1:
        return conv2d(downsample2d(x, kernel), weight, bias)
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(resample(x, kernel, 1, 1, (2, 2)), weight.to(x.dtype), bias, stride=2)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution that keeps the size: x [N, I, H, W], weight [O, I, k, k] with k odd, bias [O]."""
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight.to(x.dtype), bias, padding=weight.shape[-1] // 2)


def modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, upsample: Tensor | None = None
) -> Tensor:
    """Convolution whose weights are scaled per image by its style, and normalised again (Karras et al. 2020, eq. 1-3).

    x [N, I, H, W], weight [O, I, k, k], style [N, I]; `upsample` is the resampling kernel of a layer that doubles
    the size. No weights per image are built: scaling the input channels before, and the output channels after, one
    dense convolution is the same: y = conv(x * s) * d, d = rsqrt(sum_i s_i^2 sum_k w_oik^2 + 1e-8).
    """
    if x.dtype == torch.float16 and demodulate:
        weight, style = normalised_for_float16(weight, style)
    scaled = x * style.to(x.dtype)[:, :, None, None]
    y = conv2d(scaled, weight) if upsample is None else upsampling_conv2d(scaled, weight, upsample)
    return y * demodulation(weight, style).to(x.dtype)[:, :, None, None] if demodulate else y


def normalised_for_float16(weight: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [O, I, k, k] and styles [N, I] so small that their products stay within float16's range.

    Demodulation undoes both factors (mixed-precision training of Karras et al. 2020, arXiv:2006.06676).
    """
    largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True)
    return weight / (largest * math.sqrt(weight[0].numel())), style / style.abs().amax(dim=1, keepdim=True)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """The factor that gives every output channel unit variance, [N, O]."""
    return (style.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str = "linear",
    gain: float | None = None,
    clamp: float | None = None,
    slope: float = 0.2,
) -> Tensor:
    """Channels plus bias, through the activation, times the gain, clamped to +-clamp.

    x [N, C, ...], bias [C]; "linear", "lrelu" with its slope, or a name in ACTIVATIONS. The default gain keeps unit
    variance: sqrt(2) for the family of relu, else 1.
    """
    if gain is None:
        gain = GAINS.get(activation, 1.0)
    if activation == "lrelu" and not plain_graph():
        y: Tensor = BiasLeakyReLU.apply(x, bias, slope, gain, clamp)  # type: ignore[no-untyped-call]
        return y
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *([1] * (x.ndim - 2)))
    if activation == "lrelu":
        x = F.leaky_relu(x, slope)
    elif activation != "linear":
        x = ACTIVATIONS[activation](x)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def minibatch_std(x: Tensor, group: int, num_channels: int = 1) -> Tensor:
    """Features with `num_channels` more: how much the images of a group differ (Karras et al. 2018, section 3).

    x [N, C, H, W] -> [N, C + num_channels, H, W]. Image i belongs to group i mod (N / group): the members of a group
    are N / group apart. Batches smaller than a group are one group.
    """
    n, c, h, w = x.shape
    size = min(group, n)
    if n % size:
        raise ValueError(f"{n} images make no whole groups of {size}: give a multiple of {size} images")
    y = x.reshape(size, -1, num_channels, c // num_channels, h, w)
    std = (y - y.mean(dim=0)).square().mean(dim=0).add(1e-8).sqrt()
    spread = std.mean(dim=(2, 3, 4)).reshape(-1, num_channels, 1, 1).repeat(size, 1, h, w)
    return torch.cat([x, spread], dim=1)


def normalize_second_moment(x: Tensor) -> Tensor:
    """Rows scaled to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
