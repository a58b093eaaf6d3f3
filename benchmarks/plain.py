"""StyleGAN2 in the plain formulation that stylegan.operators replaces, to be measured beside it.

Plain means what StyleGAN2's reference runs without its CUDA kernels: weights for every image in a grouped convolution,
filters on zero-stuffed images, pixels thrown away after filtering, and autograd's own derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch.nn.functional as F
from torch import Tensor

from stylegan.architectures import stylegan2, stylegan2_discriminator
from stylegan.operators import conv2d, demodulation, upfirdn2d


def plain_modulated_conv2d(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, upsample: Tensor | None = None
) -> Tensor:
    """modulated_conv2d with weights of its own for every image, in one grouped convolution."""
    n, (outputs, inputs, k, _) = len(x), weight.shape
    weights = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weights = weights * demodulation(weight, style)[:, :, None, None, None]
    weights, grouped = weights.to(x.dtype), x.reshape(1, n * inputs, *x.shape[2:])
    if upsample is None:
        y = F.conv2d(grouped, weights.reshape(n * outputs, inputs, k, k), padding=k // 2, groups=n)
    else:
        turned = weights.transpose(1, 2).reshape(n * inputs, outputs, k, k)
        y = F.conv_transpose2d(grouped, turned, stride=2, groups=n)
        y = upfirdn2d(y, upsample, padding=(1, 1, 1, 1), gain=4.0)
    return y.reshape(n, outputs, *y.shape[2:])


def plain_downsampling_conv2d(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """downsampling_conv2d that filters every pixel first and keeps every second one of the result."""
    if weight.shape[-1] == 1:
        return conv2d(upfirdn2d(x, kernel, padding=(1, 1, 1, 1))[:, :, ::2, ::2], weight, bias)
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(upfirdn2d(x, kernel, padding=(2, 2, 2, 2)), weight.to(x.dtype), bias, stride=2)


def plain_upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """upsample2d by filtering a zero-stuffed image."""
    return upfirdn2d(x, kernel, up=(2, 2), padding=(2, 1, 2, 1), gain=4.0)


@contextmanager
def plain_formulation() -> Iterator[None]:
    """StyleGAN2's networks run in the plain formulation within this block."""
    with ExitStack() as stack:
        for module, name, function in (
            (stylegan2, "modulated_conv2d", plain_modulated_conv2d),
            (stylegan2, "upsample2d", plain_upsample2d),
            (stylegan2_discriminator, "downsampling_conv2d", plain_downsampling_conv2d),
        ):
            stack.enter_context(mock.patch.object(module, name, function))
        stack.enter_context(mock.patch("stylegan.operators.plain_graph", return_value=True))
        yield
