"""Where pictures come from, as a manifest says it: one config a kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from manifests.sources.asked import SourceConfig
from manifests.sources.files import (
    ArchiveSource,
    FolderSource,
    LmdbSource,
    NvidiaZipSource,
    PackedSource,
    ToonSource,
)

__all__ = [
    "ArchiveSource",
    "FolderSource",
    "LmdbSource",
    "NvidiaZipSource",
    "PackedSource",
    "Source",
    "SourceConfig",
    "ToonSource",
]

Source = Annotated[
    FolderSource | ArchiveSource | NvidiaZipSource | LmdbSource | ToonSource, Field(discriminator="kind")
]
