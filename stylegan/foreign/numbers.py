"""Tensors and arrays from what a pickle says of them, every size checked before anything is allocated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan.foreign.records import Budget, Format, Name, Storage, UnreadableFile, clip, is_text

MAX_DIMENSIONS, MAX_SIZE = 8, 2**31
STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DTYPES = frozenset(f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248"}.items() for size in sizes)


def storage_dtype(name: Any) -> torch.dtype:
    """The number format of a storage class's name."""
    if not isinstance(name, Name) or name.module != "torch" or name.name not in STORAGES:
        raise UnreadableFile(f"{clip(name)} is no storage of a known number format")
    return STORAGES[name.name]


def tensor_of(data: memoryview, dtype: torch.dtype) -> Tensor:
    """A tensor of one dimension with a copy of little-endian bytes."""
    if not data.nbytes:
        return torch.empty(0, dtype=dtype)
    if dtype == torch.bool:  # any byte but 0 and 1 in a bool is undefined behaviour further on
        return torch.frombuffer(bytearray(data), dtype=torch.uint8) != 0
    return torch.frombuffer(bytearray(data), dtype=dtype)


def sizes_of(value: Any, what: str) -> tuple[int, ...]:
    """A shape, checked to be a few non-negative numbers."""
    good = isinstance(value, tuple) and len(value) <= MAX_DIMENSIONS
    if not good or not all(type(n) is int and 0 <= n < MAX_SIZE for n in value):
        raise UnreadableFile(f"{what} is {clip(value)}, expected up to {MAX_DIMENSIONS} numbers from 0 up")
    return tuple(value)


def rebuild_tensor(budget: Budget, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor that looks at a part of its storage; gradient flags, hooks and metadata are left aside."""
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise UnreadableFile(f"a tensor looks at {clip(storage)} from {clip(offset)}, expected a storage and a place")
    size, stride = sizes_of(size, "a tensor's size"), sizes_of(stride, "a tensor's stride")
    if len(size) != len(stride):
        raise UnreadableFile(f"a tensor has {len(size)} sizes but {len(stride)} strides")
    count, held = math.prod(size), storage.values.numel()
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else offset
    if count > held or last >= max(held, 1):
        raise UnreadableFile(
            f"a tensor of size {size}, stride {stride} from {offset} leaves its storage of {held:,} numbers"
        )
    budget.spend(count * storage.values.element_size(), "a tensor")
    return storage.values.as_strided(size, stride, offset)


def format_of(code: Any) -> Format:
    """A numpy number format by its code; objects, records and strings are refused."""
    if is_text(code, "b1"):
        return Format(np.dtype(np.bool_))
    if not isinstance(code, str) or code.lstrip("<|=") not in DTYPES:
        raise UnreadableFile(f"numpy arrays of {clip(code)} are not read: only numbers and bool")
    return Format(np.dtype(code.lstrip("<|=")))


def set_order(format: Format, state: Any) -> None:
    """Give a number format the byte order that its pickled state (version, order, no sub-array, no fields ..) names."""
    plain = isinstance(state, tuple) and len(state) >= 5 and all(part is None for part in state[2:5])
    if not plain or not is_text(state[1], "<", ">", "|", "="):
        raise UnreadableFile(f"a number format has the state {clip(state)}: only plain numbers are read")
    if is_text(state[1], "<", ">"):
        format.dtype = format.dtype.newbyteorder(state[1])


def array_of(budget: Budget, data: Any, format: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    """A read-only numpy array over bytes that must be exactly as many as its shape needs; order is C or F."""
    shape = sizes_of(shape, "an array's shape")
    if not isinstance(format, Format) or not isinstance(data, (bytes, bytearray)) or not is_text(order, "C", "F"):
        raise UnreadableFile(f"an array's numbers are {clip(data)} of {clip(format)}, expected bytes of numbers")
    if math.prod(shape) * format.dtype.itemsize != len(data):
        raise UnreadableFile(f"an array of shape {shape} and format {format.dtype} cannot be {len(data):,} bytes")
    budget.spend(len(data), "an array")
    return np.frombuffer(bytes(data), format.dtype).reshape(shape, order=order)


def scalar_of(format: Any, data: Any) -> int | float | bool:
    """A Python number from a numpy scalar."""
    if not isinstance(format, Format) or not isinstance(data, bytes) or len(data) != format.dtype.itemsize:
        raise UnreadableFile(f"a scalar of {clip(format)} is {clip(data)}")
    value: int | float | bool = np.frombuffer(data, format.dtype)[0].item()
    return value
