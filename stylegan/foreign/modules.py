"""Pickled torch modules as plain facts: attributes, weights by name, children."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

from torch import Tensor

from stylegan.foreign.records import Opaque, UnreadableFile, clip, is_text

T = TypeVar("T")
MAX_MODULES = 10_000
PERSISTENT = "_reconstruct_persistent_obj"


@dataclasses.dataclass(frozen=True)
class Module:
    """One module of a pickle: where it stands, the name of its class, and what its attributes were."""

    path: str
    class_name: str
    state: dict[Any, Any]

    def attribute(self, name: str, kind: type[T]) -> T:
        """An attribute, checked to be of a kind."""
        value = self.state.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise UnreadableFile(f"{self.path}.{name} is {clip(value)}, expected {kind.__name__}")
        return value

    def number(self, name: str) -> float:
        """An attribute that is a number."""
        return float(self.attribute(name, float if isinstance(self.state.get(name), float) else int))

    def child(self, name: str) -> Module:
        """A child module."""
        if name not in self.names():
            raise UnreadableFile(f"{self.path} has no layer {name}")
        return module_of(self._part("_modules")[name], f"{self.path}.{name}")

    def names(self) -> list[str]:
        """Names of the child modules that are there."""
        return [k for k, v in self._part("_modules").items() if isinstance(k, str) and v is not None]

    def own_tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers of this module alone."""
        found = {**self._part("_parameters"), **self._part("_buffers")}
        for name, value in found.items():
            if value is not None and not (isinstance(name, str) and isinstance(value, Tensor)):
                raise UnreadableFile(f"{self.path}.{clip(name)} is {clip(value)}, expected a tensor")
        return {name: value for name, value in found.items() if value is not None}

    def walk(self) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their names; each before its children."""
        left, seen = [("", self)], 0
        while left:
            prefix, module = left.pop()
            yield prefix, module
            seen += 1
            if seen > MAX_MODULES:  # one module that stands in many places makes more of them than the file has bytes
                raise UnreadableFile(f"{self.path} has more than {MAX_MODULES:,} layers")
            left += [(f"{prefix}{name}.", module.child(name)) for name in reversed(module.names())]

    def tensors(self) -> dict[str, Tensor]:
        """Weights of this module and all below it, by name."""
        return {prefix + k: v for prefix, module in self.walk() for k, v in module.own_tensors().items()}

    def _part(self, name: str) -> dict[Any, Any]:
        value = self.state.get(name, {})
        if not isinstance(value, dict):
            raise UnreadableFile(f"{self.path}.{name} is {clip(value)}, expected a dictionary")
        return value


def module_of(value: Any, path: str) -> Module:
    """A module from its record: NVIDIA's persistent kind, or a plain object."""
    if not isinstance(value, Opaque):
        raise UnreadableFile(f"{path} is {clip(value)}, expected a network")
    if value.name != PERSISTENT:
        if not isinstance(value.state, dict):
            raise UnreadableFile(f"{path} ({value.module}.{value.name}) has no attributes")
        return Module(path, value.name, value.state)
    meta = value.args[0] if len(value.args) == 1 else None
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict) or not is_text(meta.get("type"), "class"):
        raise UnreadableFile(f"{path} is no persistent object of a class")
    return Module(path, str(meta.get("class_name"))[:80], meta["state"])
