"""Sources that are files: a folder, an archive, another project's set, our own drawings."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from imaging.toon import ToonConfig
from manifests.sources.asked import Globs, Labels, Pattern, SourceConfig


class FolderSource(SourceConfig):
    """Pictures in a folder, nested and of any type; they stay where they are and are only read."""

    kind: Literal["folder"]
    path: str = Field(min_length=1, description="the folder, absolute or from the current directory; ~ is home")
    include: Annotated[tuple[Pattern, ...], Globs] = ("*",)
    exclude: Annotated[tuple[Pattern, ...], Globs] = ()
    labels: Labels = "none"


class PackedSource(SourceConfig):
    """One file that holds pictures and lies here or behind http(s): where it is, what it may hold, on what terms."""

    not_pictures: ClassVar[tuple[str, ...]] = ()  # members that are read for what they say of the others
    urls: tuple[str, ...] = Field(min_length=1, description="http(s) URLs or local paths of one file, tried in turn")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="digest of the archive, hex")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="where only that is public, hex")
    bytes: int | None = Field(None, gt=0, description="size of the archive")
    count: int | None = Field(None, gt=0, description="pictures that it must hold; any other number is an error")
    members: Annotated[tuple[Pattern, ...], Globs] = ("*",)
    max_member_bytes: int = Field(512 * 2**20, gt=0, description="an archive with a larger member is refused as a bomb")
    max_total_bytes: int = Field(256 * 2**30, gt=0, description="an archive that unpacks to more is refused")
    max_ratio: float = Field(200.0, gt=1, description="or to more times its own size (above 64 MiB)")
    terms: str = Field("", description="what one agrees to by downloading; a text here makes terms_ack necessary")
    terms_ack: bool = Field(False, description="true = the terms are read and accepted")
    seen: str = Field("", description="when and where these facts were last checked")

    @field_validator("urls")
    @classmethod
    def _known_scheme(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
            if not url.strip() or (scheme and scheme[1].lower() not in ("http", "https")):
                raise ValueError(f"{url!r} is neither an http(s) URL nor a local path")
        return urls


class ArchiveSource(PackedSource):
    """Pictures in a zip, tar or tar.gz (told by content) that lies here or behind http(s)."""

    kind: Literal["archive"]
    labels: Labels = "none"


class NvidiaZipSource(PackedSource):
    """A data set as NVIDIA's dataset_tool packs it: square pictures, their class numbers in its dataset.json."""

    not_pictures: ClassVar[tuple[str, ...]] = ("dataset.json",)
    kind: Literal["nvidia-zip"]


class LmdbSource(SourceConfig):
    """Pictures in an LMDB, one a value, as LSUN and rosinality's StyleGANs keep them."""

    kind: Literal["lmdb"]
    path: str = Field(min_length=1, description="the folder with data.mdb in it; ~ is home")
    keys: Annotated[
        tuple[Pattern, ...], Field(description="shell patterns on the keys: 256-* is one size of rosinality's")
    ] = ("*",)


class ToonSource(SourceConfig, ToonConfig):
    """Scenes with cartoon faces that are drawn here, every fault of real data planted among them."""

    kind: Literal["toon"]
    seed: int = Field(0, ge=0, lt=2**63, description="picture i is a function of the seed and i alone")
    workers: int = Field(0, ge=0, le=256, description="processes that draw, 0 = one a core; changes no picture")
    licence: str = Field("CC0-1.0", description="licence of the pictures, copied into each row of the ledger")
