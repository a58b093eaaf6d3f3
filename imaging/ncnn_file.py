"""Networks as ncnn keeps them: layers in a `.param` text, their weights one after another in a `.bin`.

The files are foreign: every size is compared with the file before anything of that size is made.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = "7767517"
FP16_TAG = 0x01306B47
MAX_TEXT = 1_000_000  # bytes of a .param; the longest of waifu2x has 9,000
MAX_LAYERS = 2000
# What imaging/ncnn_net.py runs.
KINDS = (
    *("Input", "Convolution", "Deconvolution", "InnerProduct", "ReLU", "Sigmoid", "Pooling", "Flatten", "Scale"),
    *("Crop", "Eltwise", "BinaryOp", "Concat", "Split"),
)
_ARRAY = -23300  # key of an array = this less its id
LEAST_BITS = 1 << 23  # of the smallest float that is not denormal; no slope is as large as that
NOT_GIVEN = -233  # "as large as the other input", in Scale and Crop

Floats = NDArray[np.float32]


class Layer(NamedTuple):
    """One layer: what it does, which blobs it reads and writes, its numbers, and its weights where it has any."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[int, tuple[int | float, ...]]
    arrays: frozenset[int] = frozenset()  # keys of numbers that are written as arrays
    weight: Floats | None = None  # [out, in, k, k], or [out, in] of InnerProduct
    bias: Floats | None = None  # [out]

    def whole(self, key: int, default: int = 0) -> int:
        """The whole number under a key."""
        value = self.numbers.get(key, (default,))[0]
        if not isinstance(value, int):
            raise self.odd(f"key {key} is {value!r}, a whole number was expected")
        return value

    def real(self, key: int, default: float = 0.0, at: int = 0) -> float:
        """The number under a key, also where old tools of ncnn wrote its bits: 1036831949 for 0.1, as in CUNet."""
        values = self.numbers.get(key, (default,))
        value = values[at] if at < len(values) else default
        is_bits = isinstance(value, int) and abs(value) >= LEAST_BITS
        return float(struct.unpack("<f", struct.pack("<i", value))[0]) if is_bits else float(value)

    def odd(self, what: str) -> ValueError:
        """The error that says what is wrong with this layer."""
        return ValueError(f"layer {self.name} ({self.kind}): {what}")


def read_network(param: Path, weights: Path) -> list[Layer]:
    """The layers of a network with their weights; ValueError names file and layer where they are not what they say."""
    layers = read_layers(param)
    for layer in layers:  # first: what follows a layer of unknown weights would be read as something else
        if layer.kind not in KINDS:
            raise ValueError(f"{param}: {layer.odd('unknown kind')}; known are {', '.join(KINDS)}")
    data, position, result = weights.read_bytes(), 0, []
    for layer in layers:
        try:
            layer, position = _with_weights(layer, data, position)
        except ValueError as error:
            raise ValueError(f"{weights} does not fit {param.name}: {error}") from error
        result.append(layer)
    if position != len(data):
        raise ValueError(f"{weights} holds {len(data)} bytes, the layers of {param.name} take {position}")
    return result


def read_layers(param: Path) -> list[Layer]:
    """The layers of a .param file without weights."""
    if param.stat().st_size > MAX_TEXT:
        raise ValueError(f"{param} is no list of layers: {param.stat().st_size} bytes, at most {MAX_TEXT} are read")
    lines = param.read_bytes().decode("utf-8", "replace").split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError(f"{param} is no ncnn .param: line 1 is {lines[0][:20]!r}, {MAGIC} was expected")
    stated = lines[1].split() if len(lines) > 1 else []
    rows = [line.split() for line in lines[2:] if line.strip()]
    if len(stated) != 2 or stated[0] != str(len(rows)) or not 1 <= len(rows) <= MAX_LAYERS:
        raise ValueError(f"{param}, line 2: {' '.join(stated)[:40]!r} for a file of {len(rows)} layers")
    return [_layer(row, f"{param}, layer {number}") for number, row in enumerate(rows, 1)]


def layers_text(layers: list[Layer]) -> str:
    """The layers as a .param of today, whose reader takes 1036831949 for what it says."""
    lines = []
    for layer in layers:
        blobs = [*layer.inputs, *layer.outputs]
        words = [_word(layer, key) for key in sorted(layer.numbers)]
        lines.append(
            " ".join([layer.kind, layer.name, str(len(layer.inputs)), str(len(layer.outputs)), *blobs, *words])
        )
    num_blobs = sum(len(layer.outputs) for layer in layers)
    return "\n".join([MAGIC, f"{len(lines)} {num_blobs}", *lines, ""])


def _word(layer: Layer, key: int) -> str:
    values = layer.numbers[key]
    is_real = key in _REALS.get(layer.kind, ())
    texts = [f"{layer.real(key, at=at):.9e}" if is_real else str(value) for at, value in enumerate(values)]
    return f"{_ARRAY - key}={len(texts)},{','.join(texts)}" if key in layer.arrays else f"{key}={texts[0]}"


def _layer(row: list[str], where: str) -> Layer:
    """One line: kind, name, how many inputs and outputs, their names, then key=value."""
    try:
        kind, name, num_inputs, num_outputs = row[0], row[1], int(row[2]), int(row[3])
        if min(num_inputs, num_outputs) < 0 or 4 + num_inputs + num_outputs > len(row):
            raise ValueError(f"{num_inputs} inputs and {num_outputs} outputs are not all named")
        blobs, rest = row[4 : 4 + num_inputs + num_outputs], row[4 + num_inputs + num_outputs :]
        pairs = [_pair(word) for word in rest]
    except (ValueError, IndexError) as error:
        raise ValueError(f"{where} is no layer of ncnn: {' '.join(row)[:80]!r} ({error})") from error
    numbers = {key: values for key, values, _ in pairs}
    arrays = frozenset(key for key, _, is_array in pairs if is_array)
    return Layer(kind, name, tuple(blobs[:num_inputs]), tuple(blobs[num_inputs:]), numbers, arrays)


def _pair(word: str) -> tuple[int, tuple[int | float, ...], bool]:
    """Key, values, and whether they are an array; an array of length n is written -23300-key=n,..."""
    key, _, text = word.partition("=")
    values = [_number(one) for one in text.split(",")]
    if int(key) > _ARRAY:
        if len(values) != 1:
            raise ValueError(f"{word} has {len(values)} values")
        return int(key), tuple(values), False
    if values[0] != len(values) - 1:
        raise ValueError(f"{word} states {values[0]} values and has {len(values) - 1}")
    return _ARRAY - int(key), tuple(values[1:]), True


def _number(text: str) -> int | float:
    if not any(letter in text for letter in ".eE"):
        value = int(text)
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"{text} has more than 32 bits")
        return value
    real = float(text)
    if not math.isfinite(real):
        raise ValueError(f"{text} is not finite")
    return real


# Keys of numbers that are real ones, of the kinds that are known here.
_REALS = {"Convolution": (10,), "Deconvolution": (10,), "InnerProduct": (10,), "ReLU": (0,), "Eltwise": (1,)}
# Kinds with weights: keys of (weight count, has bias), and whether the weight is a kernel of k x k.
_WEIGHED = {"Convolution": (6, 5, True), "Deconvolution": (6, 5, True), "InnerProduct": (2, 1, False)}


def _with_weights(layer: Layer, data: bytes, position: int) -> tuple[Layer, int]:
    if layer.kind not in _WEIGHED:
        return layer, position
    count_key, bias_key, is_kernel = _WEIGHED[layer.kind]
    num_out, count = layer.whole(0), layer.whole(count_key)
    side = layer.whole(1) if is_kernel else 1
    if min(num_out, count, side) < 1 or count % (num_out * side * side):
        raise layer.odd(f"{count} weights for {num_out} outputs of {side} x {side}")
    weight, position = _tagged(layer, data, position, count)
    if not np.isfinite(weight).all():
        raise layer.odd("weights that are not finite")
    bias = None
    if layer.whole(bias_key):
        bias, position = _floats(layer, data, position, num_out)
    shape = (num_out, count // (num_out * side * side), side, side) if is_kernel else (num_out, count // num_out)
    return layer._replace(weight=weight.reshape(shape), bias=bias), position


def _tagged(layer: Layer, data: bytes, position: int, count: int) -> tuple[Floats, int]:
    """Weights behind their tag: halves padded to four bytes, or floats."""
    tag = int.from_bytes(data[position : position + 4], "little") if position + 4 <= len(data) else None
    if tag == 0:
        return _floats(layer, data, position + 4, count)
    if tag != FP16_TAG:
        found = "the end of the file" if tag is None else f"the tag {tag:#010x}"
        raise layer.odd(f"at byte {position} {found}; weights of 16 bits ({FP16_TAG:#010x}) or 32 (0) are read")
    start, size = position + 4, 2 * count + 2 * count % 4
    _check_inside(layer, data, start, size)
    return np.frombuffer(data, "<f2", count, start).astype(np.float32), start + size


def _floats(layer: Layer, data: bytes, position: int, count: int) -> tuple[Floats, int]:
    _check_inside(layer, data, position, 4 * count)
    values = np.frombuffer(data, "<f4", count, position).astype(np.float32)
    if not np.isfinite(values).all():
        raise layer.odd("weights that are not finite")
    return values, position + 4 * count


def _check_inside(layer: Layer, data: bytes, start: int, size: int) -> None:
    if start + size > len(data):
        raise layer.odd(f"the file is cut off: {len(data)} bytes, this layer ends at byte {start + size}")
