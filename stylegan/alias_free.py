"""The operators that StyleGAN3 is made of (Karras et al. 2021, arXiv:2106.12423), in plain PyTorch on any device.

Filters are symmetric taps of sum one: 1-D taps stand for their outer product and are applied one axis at a time, 2-D
taps are a kernel that no outer product makes. Up-sampling multiplies no stuffed zeros and down-sampling computes no
sample that it would discard: both are strided depthwise convolutions, transposed and plain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.derivatives import plain_graph
from stylegan.operators import demodulation, normalize_second_moment

# Values of the up-sampled signal that are worked on at a time on CPU: 4 MiB in float32 stay in the cache, and the
# allocator hands the same pages out again. Whole, the signal costs more in page faults than in arithmetic.
TILE = 2**20
CHANNELS = 16  # a tile takes channels by the cache line


def lowpass(num_taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor | None:
    """Taps of a low-pass filter under a Kaiser window, [num_taps] or radial [num_taps, num_taps]; none for one tap.

    cutoff and width of the transition band in cycles per unit length, rate in samples per unit length (appendix C.1).
    The radial filter is the jinc of the distance under the outer product of two windows; it keeps rotations.
    """
    if num_taps == 1:
        return None
    beta = kaiser_beta(num_taps, width / rate)
    window = torch.kaiser_window(num_taps, periodic=False, beta=beta, dtype=torch.float64)
    t = (torch.arange(num_taps, dtype=torch.float64) - (num_taps - 1) / 2) / rate
    if radial:
        r = torch.hypot(t[:, None], t[None, :])
        taps: Tensor = torch.special.bessel_j1(2 * math.pi * cutoff * r) / r * torch.outer(window, window)
    else:
        taps = torch.sinc(2 * cutoff * t) * window
    return (taps / taps.sum()).float()


def kaiser_beta(num_taps: int, width: float) -> float:
    """The Kaiser window's shape for a transition band of `width` cycles per sample (Kaiser's formulas, eq. 5 and 6)."""
    attenuation = 2.285 * (num_taps - 1) * 2 * math.pi * width + 7.95  # dB
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return float(0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21))
    return 0.0


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    *,
    padding: int = 0,
    demodulate: bool = True,
    input_gain: Tensor | None = None,
) -> Tensor:
    """Convolution whose weights are scaled per image by its style, and normalised again, then times the input's gain.

    x [N, I, H, W], weight [O, I, k, k], style [N, I], input_gain [], [I] or [N, I]; a negative padding crops. Weights
    are brought to unit norm and styles to unit second moment first, which 16 bits need and demodulation undoes; styles
    each for itself, so that an image's features depend on no other image. No weights per image are built: see
    operators.modulated_conv2d.
    """
    if demodulate:
        weight = weight * weight.square().sum(dim=(1, 2, 3), keepdim=True).rsqrt()
        style = normalize_second_moment(style)
    gained = style if input_gain is None else style * input_gain
    if padding < 0:
        x, padding = x[:, :, -padding:padding, -padding:padding], 0
    y = conv2d(x * gained[:, :, None, None].to(x.dtype), weight.to(x.dtype), padding)
    return y * demodulation(weight, style)[:, :, None, None].to(x.dtype) if demodulate else y


def conv2d(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Convolution of x [N, I, H, W] with weight [O, I, k, k]."""
    if weight.shape[-1] > 1 or x.device.type != "cpu" or plain_graph():
        return F.conv2d(x, weight, padding=padding)
    # Fewer than 16 images on one thread would take PyTorch's slow path: every row of pixels goes in as an image.
    assert padding == 0
    rows = x.permute(0, 2, 3, 1).flatten(0, 1)[:, None].permute(0, 3, 1, 2)
    y = F.conv2d(rows, weight).permute(0, 2, 3, 1)
    return y.reshape(len(x), *x.shape[2:], len(weight)).permute(0, 3, 1, 2)


class Resampling(NamedTuple):
    """Up-sampling, activation, down-sampling."""

    up_taps: Tensor | None  # the gain included
    down_taps: Tensor | None
    up: int
    down: int
    crop: tuple[int, int, int, int]  # samples of the whole up-sampled signal dropped left, right, top, bottom
    slope: float
    clamp: float | None


def filtered_lrelu(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    up_taps: Tensor | None = None,
    down_taps: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = math.sqrt(2),
    slope: float = 0.2,
    clamp: float | None = None,
) -> Tensor:
    """Leaky ReLU at `up` times the sampling rate between two low-pass filters, then every `down`-th sample.

    x [N, C, H, W], bias [C]; padding is (left, right, top, bottom) in samples after zero-stuffing, negative values
    crop. The order is: bias, up-sampling, leaky ReLU of this slope > 0, gain, clamp to +-clamp, down-sampling
    (section 3.2 and figure 4b). Differentiable any number of times. Autograd keeps x alone: the signal between the
    filters, up^2 times as large, is computed again for the gradient, and on CPU a tile at a time.
    """
    if bias is not None:
        x = x + bias[:, None, None].to(x.dtype)
    if up_taps is None:
        x = x * gain if gain != 1 else x  # up-sampling and leaky ReLU commute with a positive gain
    else:
        # Zero-stuffing leaves one sample in up^2, and 1-D taps are applied twice.
        up_taps = up_taps * (gain * up**2) ** (1 / 2 if up_taps.ndim == 1 else 1)
    size = 1 if up_taps is None else len(up_taps)
    left, right, top, bottom = padding
    crop = (size - 1 - left, size - up - right, size - 1 - top, size - up - bottom)
    r = Resampling(up_taps, down_taps, up, down, crop, slope, clamp)
    if plain_graph() or (up_taps is None and down_taps is None):
        return fall(activate(rise(x, r), r), r)
    y: Tensor = FilteredLReLU.apply(x, r)  # type: ignore[no-untyped-call]
    return y


class FilteredLReLU(torch.autograd.Function):
    """fall(activate(rise(x))), whose gradient computes what lies between again."""

    @staticmethod
    def forward(x: Tensor, r: Resampling) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W']."""
        return tiled(lambda x: fall(activate(rise(x, r), r, inplace=True), r), r, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Resampling], output: Tensor) -> None:
        """Keep the input."""
        x, ctx.resampling = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The input's gradient."""
        return Derivative.apply(gradient, *ctx.saved_tensors, ctx.resampling, True), None  # type: ignore[no-untyped-call]


class Derivative(torch.autograd.Function):
    """The derivative of the above at x times a direction, or, transposed, times a gradient.

    It is linear in that vector and piecewise constant in x, so that each form is the gradient of the other.
    """

    @staticmethod
    def forward(vector: Tensor, x: Tensor, r: Resampling, transposed: bool) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W'], or, transposed, the other way."""

        def forth(vector: Tensor, x: Tensor) -> Tensor:
            return fall(sloped(rise(vector, r), rise(x, r), r), r)

        def back(vector: Tensor, x: Tensor) -> Tensor:
            u = rise(x, r)
            return rise_adjoint(sloped(fall_adjoint(vector, r, u), u, r), r)

        return tiled(back if transposed else forth, r, vector, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Resampling, bool], output: Tensor) -> None:
        """Keep where the slopes come from."""
        _, x, ctx.resampling, ctx.transposed = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, vector: Tensor) -> tuple[Tensor, None, None, None]:
        """The vector's gradient."""
        way = not ctx.transposed
        gradient: Tensor = Derivative.apply(vector, *ctx.saved_tensors, ctx.resampling, way)  # type: ignore[no-untyped-call]
        return gradient, None, None, None


def tiled(function: Callable[..., Tensor], r: Resampling, *tensors: Tensor) -> Tensor:
    """The function of tensors [N, C, ...] whose channels do not meet in it; on CPU tile by tile, channels last."""
    first = tensors[0]
    if first.device.type != "cpu":
        return function(*tensors)
    # 16-bit tiles are worked on in 32: up-sampling in 16 bits takes 13 times as long on CPU.
    dtype = torch.float32 if first.dtype.itemsize < 4 else first.dtype
    n, c, h, w = tensors[-1].shape
    out = None
    for rows, channels in tiles(n, c, h * w * r.up**2):
        parts = (t[rows, channels].to(dtype).contiguous(memory_format=torch.channels_last) for t in tensors)
        done = function(*parts)
        if out is None:
            out = first.new_empty((n, c, *done.shape[2:])).contiguous(memory_format=torch.channels_last)
        out[rows, channels] = done
    assert out is not None
    return out


def tiles(n: int, c: int, area: int) -> Iterator[tuple[slice, slice]]:
    """Rows and channels of the tiles of n images of c channels of so many samples."""
    channels = min(max(TILE // area // CHANNELS, 1) * CHANNELS, c)
    rows = max(TILE // (area * c), 1)
    for i in range(0, n, rows):
        for j in range(0, c, channels):
            yield slice(i, i + rows), slice(j, j + channels)


def activate(u: Tensor, r: Resampling, *, inplace: bool = False) -> Tensor:
    """Leaky ReLU and clamp."""
    if r.slope != 1:
        u = F.leaky_relu(u, r.slope, inplace)
    return u if r.clamp is None else F.hardtanh(u, -r.clamp, r.clamp, inplace)


def sloped(gradient: Tensor, u: Tensor, r: Resampling) -> Tensor:
    """The gradient times the activation's slope at u, which is overwritten: memory is what the time goes into."""
    if r.slope != 1:
        u = F.leaky_relu_(u, r.slope)
    if r.clamp is not None:
        gradient = torch.ops.aten.hardtanh_backward(gradient, u, -r.clamp, r.clamp)
    return gradient if r.slope == 1 else torch.ops.aten.leaky_relu_backward(gradient, u, r.slope, True)


def rise(x: Tensor, r: Resampling) -> Tensor:
    """Up-sampled, filtered and cropped, in memory of its own."""
    cut = both_ends(r)
    y = x.clone() if r.up_taps is None else spread(x, r.up_taps, r.up, cut)
    rest = [end - cut[i // 2] for i, end in enumerate(r.crop)]
    return F.pad(y, [-end for end in rest]) if any(rest) else y


def rise_adjoint(u: Tensor, r: Resampling) -> Tensor:
    """The transpose of rise."""
    cut = both_ends(r)
    rest = [end - cut[i // 2] for i, end in enumerate(r.crop)]
    u = F.pad(u, rest) if any(rest) else u
    return u if r.up_taps is None else gather(u, r.up_taps, r.up, cut)


def both_ends(r: Resampling) -> tuple[int, int]:
    """What both ends drop, along (x, y): it is never computed; the rest is cut, or padded, afterwards."""
    if r.up_taps is None:
        return 0, 0
    left, right, top, bottom = r.crop
    return max(min(left, right), 0), max(min(top, bottom), 0)


def fall(u: Tensor, r: Resampling) -> Tensor:
    """Filtered and down-sampled."""
    return u if r.down_taps is None else gather(u, r.down_taps, r.down)


def fall_adjoint(gradient: Tensor, r: Resampling, like: Tensor) -> Tensor:
    """The transpose of fall, for inputs of this size."""
    if r.down_taps is None:
        return gradient
    u = spread(gradient, r.down_taps, r.down)
    rest = (0, like.shape[3] - u.shape[3], 0, like.shape[2] - u.shape[2])  # samples that fall has no use for
    return F.pad(u, rest) if any(rest) else u


def spread(x: Tensor, taps: Tensor, factor: int, cut: tuple[int, int] = (0, 0)) -> Tensor:
    """Every sample's filter response, `factor` apart, added up; `cut` samples (x, y) dropped at both ends."""
    for kernel in kernels(taps, x):
        x = F.conv_transpose2d(
            x, kernel, stride=along(kernel, factor), padding=along(kernel, *cut, still=0), groups=x.shape[1]
        )
    return x


def gather(u: Tensor, taps: Tensor, factor: int, cut: tuple[int, int] = (0, 0)) -> Tensor:
    """Filtered at every `factor`-th sample: the transpose of spread for symmetric taps."""
    for kernel in reversed(kernels(taps, u)):
        u = F.conv2d(u, kernel, stride=along(kernel, factor), padding=along(kernel, *cut, still=0), groups=u.shape[1])
    return u


def kernels(taps: Tensor, x: Tensor) -> list[Tensor]:
    """Depthwise kernels [C, 1, kh, kw] that follow one another: along y and along x, or one for both."""
    taps = taps.to(device=x.device, dtype=x.dtype)
    planes = [taps] if taps.ndim == 2 else [taps[:, None], taps[None, :]]
    return [plane.expand(x.shape[1], 1, *plane.shape) for plane in planes]


def along(kernel: Tensor, x: int, y: int | None = None, *, still: int = 1) -> tuple[int, int]:
    """(y, x) for the axes that the kernel works on, and `still` for one that it leaves alone."""
    return (x if y is None else y) if kernel.shape[2] > 1 else still, x if kernel.shape[3] > 1 else still
