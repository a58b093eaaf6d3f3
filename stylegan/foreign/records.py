"""What stands for the things in an untrusted file: inert records, the error about it, and the reader's budget."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from torch import Tensor

MAX_OPCODES = 500_000  # a snapshot of StyleGAN3 at 1024 px has some 60,000


class UnreadableFile(ValueError):  # noqa: N818  it is the file that is at fault
    """A foreign file is damaged, hostile, or of a kind that is not read."""


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of a class or function; nothing stands behind it, so it cannot be called."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(eq=False)
class Opaque:
    """An object of a foreign class: what it was made from and what it held, both as plain values."""

    module: str
    name: str
    args: tuple[Any, ...]
    state: Any = None


@dataclasses.dataclass(eq=False)
class Storage:
    """The numbers of tensors, one after the other."""

    values: Tensor  # one dimension


@dataclasses.dataclass(eq=False)
class Format:
    """The number format of numpy arrays."""

    dtype: np.dtype[Any]


class PendingArray:
    """A numpy array whose numbers have not come yet."""

    place: int | None = None  # its number in the memo


@dataclasses.dataclass(eq=False)
class Budget:
    """How much more a file may make the reader do and hold; set from its own size, so that small files stay small."""

    opcodes: int
    bytes: int

    @classmethod
    def of(cls, file_size: int) -> Budget:
        """The budget of a file: nested payload, storage and tensor make three times its bytes; four are granted."""
        return cls(MAX_OPCODES, 4 * file_size + 2**20)

    def spend(self, num_bytes: int, what: str) -> None:
        """Raise UnreadableFile before more is allocated than a file of this size can honestly need."""
        self.bytes -= num_bytes
        if self.bytes < 0:
            raise UnreadableFile(f"{what} of {num_bytes:,} bytes is more than a file of this size can hold")

    def step(self) -> None:
        """Count one opcode."""
        self.opcodes -= 1
        if self.opcodes < 0:
            raise UnreadableFile(f"more than {MAX_OPCODES:,} opcodes: no checkpoint needs so many")


def is_text(value: object, *texts: str) -> bool:
    """Whether a value is one of some texts; arrays, which compare to an array, are not."""
    return isinstance(value, str) and value in texts


def clip(value: object) -> str:
    """A short, harmless name of a value for a message: never its whole contents, which may be made to explode."""
    if value is None or isinstance(value, (bool, float, Name, np.dtype)):
        return str(value)[:80]
    if isinstance(value, int):
        return str(value) if value.bit_length() < 128 else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, tuple) and len(value) <= 8 and all(isinstance(v, (int, str)) for v in value):
        return f"({', '.join(clip(v) for v in value)})"
    return f"a {type(value).__name__}"
