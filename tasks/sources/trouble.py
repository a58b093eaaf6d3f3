"""What file systems raise when a host or a network is in trouble."""

from __future__ import annotations

import functools
import importlib
import importlib.util

import httpx

# Errors of the optional packages that are no OSErrors; the Hugging Face hub's own came with httpx, then with httpx2.
_OTHERS = {"aiohttp": "ClientError", "gcsfs.retry": "HttpError", "httpx2": "HTTPError"}


@functools.cache
def passing_errors() -> tuple[type[Exception], ...]:
    """The errors of the packages that are installed."""
    others = [
        getattr(importlib.import_module(module), name)
        for module, name in _OTHERS.items()
        if importlib.util.find_spec(module.partition(".")[0])
    ]
    return (OSError, EOFError, httpx.HTTPError, *others)
