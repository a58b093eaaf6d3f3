"""Sources that are files: a folder, an archive, another project's set, our own drawings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from imaging.toon import ToonConfig
from manifests.sources.asked import Globs, Labels, MirroredFile, Pattern, SourceConfig, Terms, UnpackLimits


class FolderSource(SourceConfig):
    """Pictures in a folder, nested and of any type; they stay where they are and are only read."""

    kind: Literal["folder"]
    path: str = Field(min_length=1, description="the folder, absolute or from the current directory; ~ is home")
    include: Annotated[tuple[Pattern, ...], Globs] = ("*",)
    exclude: Annotated[tuple[Pattern, ...], Globs] = ()
    labels: Labels = "none"


class PackedSource(SourceConfig, MirroredFile, Terms, UnpackLimits):
    """One file that holds pictures and lies here or behind http(s): where it is, what it may hold, on what terms."""

    not_pictures: ClassVar[tuple[str, ...]] = ()  # members that are read for what they say of the others
    count: int | None = Field(None, gt=0, description="pictures that it must hold; any other number is an error")
    members: Annotated[tuple[Pattern, ...], Globs] = ("*",)


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
