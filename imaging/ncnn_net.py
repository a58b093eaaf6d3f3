"""Networks of ncnn run by torch: shapes are followed through all layers before one of them runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from imaging.ncnn_file import NOT_GIVEN, Layer

Shape = tuple[int, int, int]  # channels, height, width; a vector is (channels, 1, 1)
WIDE = 64  # channels on both sides that make a convolution worth 16 bits; the narrow ones keep the picture's precision
MAX_CHANNELS, MAX_GROWTH = 4096, 8  # no blob has more channels, or so many times the side of the image
_PROBE = 256  # px, a side that every network of waifu2x halves without a rest


class Geometry(NamedTuple):
    """What a network does to a side: scale (side - 2 margin); sides are multiples of step."""

    scale: int
    margin: int
    step: int
    is_local: bool  # a pixel depends on its surroundings only: the picture may go through in tiles


class Rule(NamedTuple):
    """What a kind of layer does to shapes, and to tensors."""

    shape: Callable[[Layer, list[Shape]], Shape]
    run: Callable[[Layer, list[Tensor], Tensors], Tensor]


class Tensors(NamedTuple):
    """A layer's weights where they are used: on the device, in the type that the layer computes in."""

    weight: Tensor | None
    bias: Tensor | None


class Network:
    """Layers in the order of the file; images [N, 3, H, W] in 0..1 -> [N, 3, scale (H - 2 margin), ...], float32.

    Wide convolutions compute in `half`, everything else in float32. ValueError when the layers do not fit each other.
    """

    def __init__(self, layers: list[Layer], half: torch.dtype = torch.float32, device: str = "cpu") -> None:
        self.layers = layers
        self.geometry = geometry_of(layers)
        self.device = torch.device(device)
        self.tensors = [_tensors(layer, half, self.device) for layer in layers]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Run it."""
        blobs = {self.layers[0].outputs[0]: images.to(self.device).contiguous(memory_format=torch.channels_last)}
        result = images
        for layer, tensors in zip(self.layers[1:], self.tensors[1:], strict=True):
            # Every blob is read once: what was read can go.
            result = RULES[layer.kind].run(layer, [blobs.pop(name) for name in layer.inputs], tensors)
            blobs.update(dict.fromkeys(layer.outputs, result))
        return result.float()


def geometry_of(layers: list[Layer]) -> Geometry:
    """What a network from three channels to three does to a side, from the shapes at two sides."""
    (channels, small, _), (_, large, _) = (final_shape(layers, side) for side in (_PROBE, 2 * _PROBE))
    scale, rest = divmod(large - small, _PROBE)
    margin, odd = divmod(scale * _PROBE - small, 2 * max(scale, 1))
    if channels != 3 or rest or odd or scale not in (1, 2, 4) or margin < 0:
        raise layers[-1].odd(f"{_PROBE} px become {channels} channels of {small} px, {2 * _PROBE} px {large} px")
    strided = any(layer.kind == "Convolution" and layer.whole(3, 1) > 1 for layer in layers)
    is_local = not strided and all(layer.kind != "Pooling" for layer in layers)
    # CUNet halves twice, the second time what it has enlarged.
    return Geometry(scale, margin, max(1, 4 // scale) if strided else 1, is_local)


def final_shape(layers: list[Layer], side: int) -> Shape:
    """The shape of what a network makes of an image of side x side px; ValueError names the layer that does not fit."""
    first = layers[0]
    if first.kind != "Input" or first.inputs or len(first.outputs) != 1:
        raise first.odd("the first layer must be the one Input")
    shapes: dict[str, Shape] = {first.outputs[0]: (3, side, side)}
    for layer in layers[1:]:
        if not layer.inputs or (len(layer.outputs) != 1 and layer.kind != "Split"):
            raise layer.odd(f"{len(layer.inputs)} inputs and {len(layer.outputs)} outputs")
        if missing := [name for name in layer.inputs if name not in shapes]:
            raise layer.odd(f"reads {missing[0]}, which no layer before it wrote, or which was read already")
        if len(set(layer.inputs)) < len(layer.inputs) or set(layer.outputs) & shapes.keys():
            raise layer.odd("a blob is read or written twice")
        shape = RULES[layer.kind].shape(layer, [shapes.pop(name) for name in layer.inputs])
        if min(shape) < 1 or shape[0] > MAX_CHANNELS or max(shape[1:]) > MAX_GROWTH * side:
            raise layer.odd(f"an image of {side} px becomes {shape}, which is nothing, or too much")
        shapes.update(dict.fromkeys(layer.outputs, shape))
    if list(shapes) != list(layers[-1].outputs) or len(shapes) != 1:
        raise layers[-1].odd(f"ends with {', '.join(shapes)}; one output was expected")
    return next(iter(shapes.values()))


def _tensors(layer: Layer, half: torch.dtype, device: torch.device) -> Tensors:
    if layer.weight is None:
        return Tensors(None, None)
    num_out, num_in = layer.weight.shape[:2]
    dtype = half if layer.kind == "Convolution" and min(num_out, num_in) >= WIDE else torch.float32
    weight = torch.from_numpy(layer.weight)
    if layer.kind == "Deconvolution":  # torch has the inputs first
        weight = weight.transpose(0, 1).contiguous()
    if weight.ndim == 4:
        weight = weight.contiguous(memory_format=torch.channels_last)
    bias = None if layer.bias is None else torch.from_numpy(layer.bias).to(device, dtype)
    return Tensors(weight.to(device, dtype), bias)


def _alone(layer: Layer, shapes: list[Shape]) -> Shape:
    if len(shapes) != 1:
        raise layer.odd(f"{len(shapes)} inputs, one was expected")
    return shapes[0]


def _convolved_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    channels, height, width = _alone(layer, shapes)
    if layer.weight is None or layer.weight.shape[1] != channels:
        raise layer.odd(f"gets {channels} channels, its weights are for others")
    side, stride, pad = layer.weight.shape[2], layer.whole(3, 1), layer.whole(4)
    _check_plain(layer, {2: 1, 8: 0, 11: side, 12: 1, 13: stride, 14: pad, 15: pad, 16: pad, 18: 0, 20: 0, 21: 0})
    if not 1 <= stride <= 8 or not 0 <= pad < side:
        raise layer.odd(f"stride {stride}, {pad} px of padding")
    if layer.kind == "Deconvolution":
        return (layer.weight.shape[0], *((n - 1) * stride + side - 2 * pad for n in (height, width)))
    return (layer.weight.shape[0], *((n + 2 * pad - side) // stride + 1 for n in (height, width)))


def _convolve(layer: Layer, inputs: list[Tensor], tensors: Tensors) -> Tensor:
    assert tensors.weight is not None, "shapes were followed before"
    call = F.conv_transpose2d if layer.kind == "Deconvolution" else F.conv2d
    images, stride, pad = inputs[0].to(tensors.weight.dtype), layer.whole(3, 1), layer.whole(4)
    return _activated(layer, call(images, tensors.weight, tensors.bias, stride=stride, padding=pad))


def _product_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    channels, height, width = _alone(layer, shapes)
    count = channels * height * width
    if layer.weight is None or layer.weight.shape[1] != count:
        raise layer.odd(f"gets {count} values, its weights are for others")
    _check_plain(layer, {8: 0})
    return layer.weight.shape[0], 1, 1


def _product(layer: Layer, inputs: list[Tensor], tensors: Tensors) -> Tensor:
    assert tensors.weight is not None, "shapes were followed before"
    return _activated(layer, F.linear(inputs[0].flatten(1).float(), tensors.weight, tensors.bias))[:, :, None, None]


def _activated(layer: Layer, values: Tensor) -> Tensor:
    """What ncnn fuses into convolutions: 0 nothing, 1 ReLU, 2 leaky ReLU, 4 sigmoid."""
    kind = layer.whole(9)
    if kind == 4:
        return values.sigmoid_()
    return values if kind == 0 else F.leaky_relu_(values, layer.real(10) if kind == 2 else 0.0)


def _check_plain(layer: Layer, expected: dict[int, int]) -> None:
    """ValueError where a number asks for what is not done here: dilation, 8 bits, uneven padding or strides."""
    for key, value in expected.items():
        if layer.whole(key, value) != value:
            raise layer.odd(f"key {key} is {layer.whole(key)}, only {value} is known here")
    if layer.whole(9) not in (0, 1, 2, 4):
        raise layer.odd(f"activation {layer.whole(9)}; known are 0, 1, 2, 4")


def _pooled_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    if layer.whole(0) != 1 or layer.whole(4) != 1:
        raise layer.odd("only the average over the whole image is known here")
    return _alone(layer, shapes)[0], 1, 1


def _scaled_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    if len(shapes) != 2 or layer.whole(0) != NOT_GIVEN or layer.whole(1) or shapes[1] != (shapes[0][0], 1, 1):
        raise layer.odd("only one factor a channel, from a second input, is known here")
    return shapes[0]


def _flat_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    channels, height, width = _alone(layer, shapes)
    return channels * height * width, 1, 1


def _cropped_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    if len(shapes) != 2:
        raise layer.odd("only a crop to the size of a second input is known here")
    (channels, *sides), (_, *wanted) = shapes
    start = (layer.whole(1), layer.whole(0))
    if layer.whole(2) or any(s < 0 or s + w > n for s, w, n in zip(start, wanted, sides, strict=True)):
        raise layer.odd(f"{wanted[0]} x {wanted[1]} px at {start} do not lie in {sides[0]} x {sides[1]} px")
    return (channels, wanted[0], wanted[1])


def _crop(layer: Layer, inputs: list[Tensor], _: Tensors) -> Tensor:
    (height, width), y, x = inputs[1].shape[-2:], layer.whole(1), layer.whole(0)
    return inputs[0][..., y : y + height, x : x + width]


def _same_shapes(layer: Layer, shapes: list[Shape]) -> Shape:
    product = layer.whole(0) == (2 if layer.kind == "BinaryOp" else 0)
    if not product and layer.whole(0) != (0 if layer.kind == "BinaryOp" else 1):
        raise layer.odd(f"operation {layer.whole(0)}; only sums and products are known here")
    if len(shapes) < 2 or len(set(shapes)) != 1 or any(layer.real(1, 1.0, at) != 1.0 for at in range(len(shapes))):
        raise layer.odd(f"{shapes} are not alike, or have factors")
    return shapes[0]


def _combine(layer: Layer, inputs: list[Tensor], _: Tensors) -> Tensor:
    result = inputs[0]
    is_product = layer.whole(0) == (2 if layer.kind == "BinaryOp" else 0)
    for other in inputs[1:]:
        result = result * other if is_product else result + other
    return result


def _joined_shape(layer: Layer, shapes: list[Shape]) -> Shape:
    if layer.whole(0) or len({shape[1:] for shape in shapes}) != 1:
        raise layer.odd(f"{shapes} do not join channel by channel")
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _unchanged(layer: Layer, inputs: Sequence[Tensor], _: Tensors) -> Tensor:
    return inputs[0]


RULES: dict[str, Rule] = {
    "Convolution": Rule(_convolved_shape, _convolve),
    "Deconvolution": Rule(_convolved_shape, _convolve),
    "InnerProduct": Rule(_product_shape, _product),
    "ReLU": Rule(_alone, lambda layer, inputs, _: F.leaky_relu(inputs[0], layer.real(0))),
    "Sigmoid": Rule(_alone, lambda layer, inputs, _: inputs[0].sigmoid()),
    "Pooling": Rule(_pooled_shape, lambda layer, inputs, _: inputs[0].float().mean((2, 3), keepdim=True)),
    "Flatten": Rule(_flat_shape, lambda layer, inputs, _: inputs[0].flatten(1)[:, :, None, None]),
    "Scale": Rule(_scaled_shape, lambda layer, inputs, _: inputs[0] * inputs[1]),
    "Crop": Rule(_cropped_shape, _crop),
    "Eltwise": Rule(_same_shapes, _combine),
    "BinaryOp": Rule(_same_shapes, _combine),
    "Concat": Rule(_joined_shape, lambda layer, inputs, _: torch.cat(inputs, 1)),
    "Split": Rule(_alone, _unchanged),
}
