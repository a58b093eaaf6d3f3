"""The operators that StyleGAN2 is made of, in plain PyTorch: differentiable twice, on any device, without nvcc.

Filters are 1-D tensors of taps and stand for their outer product. The resampling filter of every network here is
[1, 3, 3, 1] / 8. On CPU and CUDA alike depthwise convolutions in channels_last order were the fastest exact form
(benchmarks/training_speed.py measures them against the plain formulation).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)


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
    weight = _depthwise(kernel if flip else kernel.flip(0, 1), gain, x)
    return F.conv2d(padded, weight, stride=(down[1], down[0]), groups=c)


def _depthwise(kernel: Tensor, gain: float, x: Tensor) -> Tensor:
    """One kernel repeated for every channel of x, [C, 1, kh, kw]."""
    weight = (kernel * gain).to(device=x.device, dtype=x.dtype)
    return weight[None, None].expand(x.shape[1], 1, *kernel.shape)


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Images at twice the size, filtered with the symmetric 4 x 4 kernel (gain 4 keeps the brightness)."""
    weight = _depthwise(kernel, 4.0, x)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=x.shape[1])


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Images at half the size, filtered with the symmetric 4 x 4 kernel; discarded pixels are never computed."""
    return F.conv2d(x, _depthwise(kernel, 1.0, x), stride=2, padding=1, groups=x.shape[1])


def upsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Images at twice the size: a 3 x 3 convolution (weights flipped, as the reference has it), then the filter.

    x [N, I, H, W], weight [O, I, 3, 3]. The stride-2 transposed convolution multiplies no stuffed zeros.
    """
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return F.conv2d(y, _depthwise(kernel, 4.0, y), padding=1, groups=y.shape[1])


def downsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Images at half the size: the filter, then a convolution that computes the kept pixels only.

    x [N, I, H, W], weight [O, I, k, k] with k = 1 or 3. For k = 1 the filter itself keeps every second pixel.
    """
    if weight.shape[-1] == 1:
        return F.conv2d(downsample2d(x, kernel), weight)
    y = F.conv2d(x, _depthwise(kernel, 1.0, x), padding=2, groups=x.shape[1])
    return F.conv2d(y, weight, stride=2)


def modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, upsample: Tensor | None = None
) -> Tensor:
    """Convolution whose weights are scaled per image by its style, and normalised again (Karras et al. 2020, eq. 1-3).

    x [N, I, H, W], weight [O, I, k, k], style [N, I]; `upsample` is the resampling kernel of a layer that doubles
    the size. No weights per image are built: scaling the input channels before, and the output channels after, one
    dense convolution is the same: y = conv(x * s) * d, d = rsqrt(sum_i s_i^2 sum_k w_oik^2 + 1e-8).
    """
    scaled = x * style[:, :, None, None]
    if upsample is None:
        y = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    else:
        y = upsampling_conv2d(scaled, weight, upsample)
    return y * demodulation(weight, style)[:, :, None, None] if demodulate else y


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
    """Channels plus bias, through the activation ("linear" or "lrelu"), times the gain, clamped to +-clamp.

    x [N, C, ...], bias [C]. The default gain keeps unit variance: 1 for linear, sqrt(2) for lrelu.
    """
    if gain is None:
        gain = math.sqrt(2) if activation == "lrelu" else 1.0
    if bias is not None:
        x = x + bias.reshape(1, -1, *([1] * (x.ndim - 2)))
    if activation == "lrelu":
        x = F.leaky_relu(x, slope)
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
