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
from manifests.sources.remote import ParquetSource, RemoteFilesSource, TarIndexSource, UrlsSource
from manifests.sources.sets import CelebaSource, DanbooruSource, FfhqSource, WebdatasetSource

__all__ = [
    "ArchiveSource",
    "CelebaSource",
    "DanbooruSource",
    "FfhqSource",
    "FolderSource",
    "LmdbSource",
    "NvidiaZipSource",
    "PackedSource",
    "ParquetSource",
    "RemoteFilesSource",
    "Source",
    "SourceConfig",
    "TarIndexSource",
    "ToonSource",
    "UrlsSource",
    "WebdatasetSource",
]

Source = Annotated[
    FolderSource
    | ArchiveSource
    | NvidiaZipSource
    | LmdbSource
    | CelebaSource
    | FfhqSource
    | DanbooruSource
    | WebdatasetSource
    | ToonSource
    | UrlsSource
    | RemoteFilesSource
    | ParquetSource
    | TarIndexSource,
    Field(discriminator="kind"),
]
