"""Operators with derivatives of their own, of any order: fewer passes over memory, and less kept, than autograd has.

They are for eager mode on all devices. torch.compile fuses the plain formulations by itself, and what would flow back
through an autograd.Function inside torch.func.grad is lost in a compiled graph (torch 2.13, without a word): the
operators therefore ask `plain_graph` first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def plain_graph() -> bool:
    """Whether a compiler or an exporter looks on: one fuses by itself, the other knows no such function."""
    return torch.compiler.is_compiling() or torch.jit._trace.is_tracing()  # type: ignore[no-untyped-call]


def fir(x: Tensor, kernel: Tensor, up: int, down: int, padding: tuple[int, int]) -> Tensor:
    """Zero-stuffing by `up`, padding, correlation of every channel with one kernel, every `down`-th pixel of it.

    x [N, C, H, W], kernel [k, k]; padding in px before and after, on both axes, after zero-stuffing.
    """
    weight = kernel.to(device=x.device, dtype=x.dtype)[None, None].expand(x.shape[1], 1, *kernel.shape)
    if up == 1:
        return _correlated(x, weight, down, padding)
    crop = len(kernel) - 1 - padding[0]
    more = padding[1] - (len(kernel) - up - crop)
    # On CPU a transposed depthwise convolution takes 30 times as long in 16 bits as one over stuffed zeros.
    slow = x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16)
    if slow or not 0 <= more < up:
        return _stuffed(x, weight, up, padding)
    turned = weight.flip(2, 3)
    return F.conv_transpose2d(x, turned, stride=up, padding=crop, output_padding=more, groups=x.shape[1])


def _correlated(x: Tensor, weight: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    before, after = padding
    if before != after:
        x, before = F.pad(x, (before, after, before, after)), 0
    return F.conv2d(x, weight, stride=stride, padding=before, groups=x.shape[1])


def _stuffed(x: Tensor, weight: Tensor, up: int, padding: tuple[int, int]) -> Tensor:
    (n, c, h, w), (before, after) = x.shape, padding
    margin = before + after
    y = x.new_zeros((n, h * up + margin, w * up + margin, c)).permute(0, 3, 1, 2)
    y[:, :, before : before + h * up : up, before : before + w * up : up] = x
    return F.conv2d(y, weight, groups=c)


class Fir(Function):
    """`fir`, whose derivative is another `fir`: up and down change places and the kernel is turned by 180 degrees."""

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, up: int, down: int, padding: tuple[int, int]) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W']."""
        return fir(x, kernel, up, down, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the kernel, and what the adjoint pads."""
        x, kernel, up, down, (before, _) = inputs
        after = x.shape[2] * up - output.shape[2] * down + before - up + 1
        ctx.save_for_backward(kernel)
        ctx.adjoint = (down, up, (len(kernel) - 1 - before, after))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The input's gradient."""
        (kernel,) = ctx.saved_tensors
        dx: Tensor = Fir.apply(gradient, kernel.flip(0, 1), *ctx.adjoint)  # type: ignore[no-untyped-call]
        return dx, None, None, None, None


class BiasLeakyReLU(Function):
    """Leaky ReLU of x plus a bias for every channel, times gain, clamped; what comes out is all that is kept."""

    @staticmethod
    def forward(x: Tensor, bias: Tensor | None, slope: float, gain: float, clamp: float | None) -> Tensor:
        """x [N, C, ...], bias [C] -> [N, C, ...]."""
        if bias is None:
            y = F.leaky_relu(x, slope)
        else:
            y = F.leaky_relu_(x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2)), slope)
        if gain != 1:
            y.mul_(gain)
        return y if clamp is None else y.clamp_(-clamp, clamp)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the output: its sign and size say where the slopes change."""
        _, bias, *ctx.shape = inputs
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and the bias."""
        (y,) = ctx.saved_tensors
        dx: Tensor = LeakyReLUSlope.apply(gradient, y, *ctx.shape)  # type: ignore[no-untyped-call]
        over = [i for i in range(dx.ndim) if i != 1]
        return dx, dx.sum(over, dtype=ctx.bias_dtype) if ctx.needs_input_grad[1] else None, None, None, None


class LeakyReLUSlope(Function):
    """A gradient times the slope where y came out; linear in the gradient, so that it is its own derivative."""

    @staticmethod
    def forward(gradient: Tensor, y: Tensor, slope: float, gain: float, clamp: float | None) -> Tensor:
        """[N, C, ...] -> [N, C, ...]."""
        if clamp is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, -clamp, clamp)
        dx: Tensor = torch.ops.aten.leaky_relu_backward(gradient, y, slope, True)
        return dx if gain == 1 else dx.mul_(gain)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep y."""
        _, y, *ctx.shape = inputs
        ctx.save_for_backward(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient's gradient."""
        dg: Tensor = LeakyReLUSlope.apply(gradient, *ctx.saved_tensors, *ctx.shape)  # type: ignore[no-untyped-call]
        return dg, None, None, None, None
