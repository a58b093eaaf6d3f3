"""Finds the pickle and the numbers in a file: a plain pickle, torch's zip, or torch's older format.

`read_tree` gives plain values: dict, list, tuple, set, str, int, float, bool, None, bytes, tensors, numpy arrays, and
`Opaque` records for objects. See unpickle.py for what keeps it harmless.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan.foreign.names import Context
from stylegan.foreign.numbers import storage_dtype, tensor_of
from stylegan.foreign.records import Budget, Storage, UnreadableFile, clip, is_text
from stylegan.foreign.unpickle import Machine

MAX_FILE = 8 * 2**30
MAX_DIRECTORY = 2**24  # bytes of a zip's list of contents: some 150,000 entries
LEGACY_MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")


def read_tree(path: Path) -> Any:
    """The plain values of a foreign file; UnreadableFile with where and what if it is damaged, hostile or unknown."""
    size = path.stat().st_size
    if size > MAX_FILE:
        raise UnreadableFile(f"{path}: {size:,} bytes, at most {MAX_FILE:,} are read")
    try:
        return parse(path.read_bytes(), Budget.of(size))
    except UnreadableFile as error:
        raise UnreadableFile(f"{path}: {error}") from error


def parse(content: bytes, budget: Budget) -> Any:
    """The plain values of a file's bytes."""
    data = memoryview(content)
    if content[:4] == b"PK\x03\x04":
        return _zip(content, budget)
    if content[: len(LEGACY_START)] == LEGACY_START:
        return _legacy(data, budget)
    if content[:1] == b"\x80":
        machine = Machine(data, 0, Context(budget, _payload), None)
        value = machine.run()
        if machine.position != len(data):
            raise UnreadableFile(f"byte {machine.position:,}: {len(data) - machine.position:,} bytes follow the end")
        return value
    raise UnreadableFile(
        f"begins with {bytes(data[:8])!r}: this is no pickle and no torch file; "
        "expected NVIDIA's .pkl, a .pt or .model of torch, or model.safetensors"
    )


def _payload(payload: memoryview, budget: Budget) -> Any:
    """A storage within a pickle, as torch.storage writes it."""
    if bytes(payload[: len(LEGACY_START)]) != LEGACY_START:
        raise UnreadableFile("a storage's payload is not in torch's older format")
    return _legacy(payload, budget)


class Storages:
    """The storages that persistent ids ("storage", class, key, device, count[, view]) of one file stand for."""

    def __init__(self, budget: Budget, fetch: Callable[[str, int, torch.dtype], Tensor]) -> None:
        self.budget = budget
        self.fetch = fetch
        self.known: dict[str, Storage] = {}

    def load(self, value: Any) -> Storage:
        """The storage of an id, fetched once."""
        if not isinstance(value, tuple) or len(value) not in (5, 6) or not is_text(value[0], "storage"):
            raise UnreadableFile(f"the persistent id {clip(value)}, expected a storage's")
        dtype, key, count = storage_dtype(value[1]), value[2], value[4]
        if not isinstance(key, str) or not key.isascii() or not key.isdigit() or type(count) is not int or count < 0:
            raise UnreadableFile(f"a storage has the key {clip(key)} and {clip(count)} numbers")
        if len(value) == 6 and value[5] is not None:
            raise UnreadableFile(f"storage {clip(key)} is a part of another: save the file with a newer torch first")
        if key not in self.known:
            self.budget.spend(count * dtype.itemsize, f"storage {clip(key)}")
            self.known[key] = Storage(self.fetch(key, count, dtype))
        found = self.known[key]
        if found.values.dtype != dtype or found.values.numel() != count:
            raise UnreadableFile(f"storage {clip(key)} is asked for in two forms")
        return found


def _legacy(data: memoryview, budget: Budget) -> Any:
    """torch's older format: magic number, version, machine, object, keys of the storages, then each storage."""

    def empty(key: str, count: int, dtype: torch.dtype) -> Tensor:
        if count * dtype.itemsize > len(data):
            raise UnreadableFile(f"storage {clip(key)} of {count:,} numbers in {len(data):,} bytes")
        return torch.empty(count, dtype=dtype)

    storages = Storages(budget, empty)
    context = Context(budget, None)
    parts, position = [], 0
    for load in (None, None, None, storages.load, None):
        machine = Machine(data, position, context, load)
        parts.append(machine.run())
        position = machine.position
    magic, version, machine_facts, value, keys = parts
    if type(magic) is not int or type(version) is not int or not isinstance(machine_facts, dict):
        raise UnreadableFile("does not begin as torch's older format does")
    if (magic, version) != (LEGACY_MAGIC, LEGACY_VERSION):
        raise UnreadableFile("is not in the version of torch's older format that is known")
    if machine_facts.get("little_endian") is not True:
        raise UnreadableFile("was written by a big-endian machine: save it on another one first")
    _fill(data[position:], keys, storages.known)
    return value


def _fill(data: memoryview, keys: Any, storages: dict[str, Storage]) -> None:
    """Copy the numbers behind an older file's pickles, count first, into the storages in the order of their keys."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise UnreadableFile("lists other storages than it uses")
    position = 0
    for key in keys:
        values = storages[key].values
        end = position + 8 + values.numel() * values.element_size()
        if end > len(data) or int.from_bytes(data[position : position + 8], "little") != values.numel():
            raise UnreadableFile(f"storage {clip(key)} is cut short or has another length than announced")
        values.copy_(tensor_of(data[position + 8 : end], values.dtype))
        position = end
    if position != len(data):
        raise UnreadableFile(f"{len(data) - position:,} bytes follow the last storage")


def _zip(data: bytes, budget: Budget) -> Any:
    """torch's zip: NAME/data.pkl and NAME/data/KEY, all stored as they are, so that nothing can swell."""
    _check_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive, len(data))
            folder = _folder(entries)

            def read(name: str) -> memoryview:
                if name not in entries:
                    raise UnreadableFile(f"{clip(name)} is missing in the archive")
                return memoryview(archive.read(entries[name]))

            def fetch(key: str, count: int, dtype: torch.dtype) -> Tensor:
                numbers = read(f"{folder}data/{key}")
                if numbers.nbytes != count * dtype.itemsize:
                    raise UnreadableFile(f"storage {clip(key)} has {numbers.nbytes:,} bytes, {count:,} x {dtype} asked")
                return tensor_of(numbers, dtype)

            if f"{folder}byteorder" in entries and bytes(read(f"{folder}byteorder")) != b"little":
                raise UnreadableFile("was written by a big-endian machine: save it on another one first")
            pickled = read(f"{folder}data.pkl")
            machine = Machine(pickled, 0, Context(budget, None), Storages(budget, fetch).load)
            value = machine.run()
            if machine.position != len(pickled):
                raise UnreadableFile("bytes follow the end of data.pkl")
            return value
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error, UnicodeDecodeError) as error:
        raise UnreadableFile(f"the archive is damaged: {error}") from error


def _entries(archive: zipfile.ZipFile, length: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name, each checked to be stored, unencrypted, inside the file, and named once."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename
        if name in entries or name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise UnreadableFile(f"the archive's entry {clip(name)} is named twice or leads elsewhere")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise UnreadableFile(f"the archive's entry {clip(name)} is compressed or encrypted: torch does neither")
        if info.file_size > length:
            raise UnreadableFile(f"the archive's entry {clip(name)} says {info.file_size:,} bytes of {length:,}")
        entries[name] = info
    return entries


def _folder(entries: dict[str, zipfile.ZipInfo]) -> str:
    found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise UnreadableFile(f"the archive holds {len(found)} files data.pkl, expected one: it is no torch file")
    return found[0].removesuffix("data.pkl")


def _check_directory(data: bytes) -> None:
    """Raise UnreadableFile for a list of contents so long that reading it would be the attack."""
    tail = data[-(2**16 + 128) :]
    sizes = [int.from_bytes(tail[at + 12 : at + 16], "little") for at in _places(tail, b"PK\x05\x06")]
    sizes += [int.from_bytes(tail[at + 40 : at + 48], "little") for at in _places(tail, b"PK\x06\x06")]
    if any(MAX_DIRECTORY < size < 2**32 - 1 or size >= 2**32 for size in sizes):
        raise UnreadableFile(f"the archive's list of contents is longer than {MAX_DIRECTORY:,} bytes")


def _places(tail: bytes, mark: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(mark), tail)]
