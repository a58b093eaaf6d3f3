"""TENSORS: networks, losses, training loop, checkpoints, sampling, ranking, metrics, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stylegan.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    """`stylegan.load` and `stylegan.Model`, fetched when first asked for: importing stylegan does no work."""
    if name not in __all__:
        raise AttributeError(f"module 'stylegan' has no attribute {name!r}")
    from stylegan import model

    return getattr(model, name)
