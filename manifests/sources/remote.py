"""Sources behind a network: pictures by URL, folders of any file system, tables with pictures in them, indexed tars."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from manifests.sources.asked import Globs, Labels, Pattern, SourceConfig

_STRICT = ConfigDict(extra="forbid", frozen=True)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB = re.compile(r"hf://((datasets|spaces)/)?[^/@]+/[^/@]+(@(?P<commit>[^/]+))?")
_HUB_PAGE = re.compile(r"https://huggingface\.co/.+/resolve/(?![0-9a-f]{40}/)")
Tables = Annotated[
    tuple[Pattern, ...],
    Field(
        description="CSV, TSV, JSON lines or Parquet: paths, shell patterns or fsspec URLs; .gz, .bz2, .xz are unpacked"
    ),
]


class Limits(BaseModel):
    """How much is asked of other people's machines, and how much may come."""

    model_config = _STRICT
    connections: int = Field(16, ge=1, le=256, description="requests under way at once, over all hosts")
    per_host: int = Field(4, ge=1, le=256, description="requests under way at once to one host")
    requests_per_second: float = Field(10.0, gt=0, description="begun in a second, to one host")
    bytes_per_second: float | None = Field(None, gt=0, description="over all connections; nothing = as fast as it goes")
    connect_seconds: float = Field(10.0, gt=0, description="to reach a host")
    read_seconds: float = Field(20.0, gt=0, description="without a byte")
    total_seconds: float = Field(120.0, gt=0, description="for one answer, however steadily it drips")
    tries: int = Field(3, ge=1, le=20, description="when an answer may be another in a minute (503, a cut, no answer)")
    max_wait_seconds: float = Field(60.0, ge=0, description="the longest pause between tries, Retry-After included")
    max_picture_bytes: int = Field(64 * 2**20, gt=0, description="a larger picture has the reason too_large")
    max_redirects: int = Field(5, ge=0, le=20, description="from one URL on to others")
    allow_private: bool = Field(False, description="true = hosts of this machine and its own network may be asked")


class Columns(BaseModel):
    """Which column of a table says what; an empty name = the table does not say. Standard names need not be written."""

    model_config = _STRICT
    url: str = Field("url", description="address of the picture (kind urls)")
    image: str = Field("image", description="the picture itself: bytes, or a struct of bytes and path (kind parquet)")
    id: str = Field("id", description="name of the picture in its source")
    label: str = Field("", description="class: a text, or a number")
    rating: str = Field("rating", description="general or g, sensitive or s, questionable or q, explicit or e, ...")
    tags: str = Field("tags", description="a list, or a text with spaces or commas between the tags")
    licence: str = Field("", description="licence of this picture; empty = license or licence, if there is one")
    sha256: str = Field("sha256", description="digest that the picture must have, hex")
    md5: str = Field("md5", description="where only that is known, hex")
    facts: tuple[Pattern, ...] = Field(("*",), description="shell patterns on the other columns that the ledger keeps")


class RemoteSource(SourceConfig):
    """What all sources behind a network are asked."""

    limits: Limits = Limits()
    retry: int = Field(0, ge=0, description="what failed is asked for again when this number is another")


class UrlsSource(RemoteSource):
    """Pictures named by URL in tables, fetched politely; every one that does not come is a row with its reason."""

    kind: Literal["urls"]
    tables: Tables = Field(min_length=1)
    columns: Columns = Columns()
    user_agent: str = Field(
        "stylegan-flows",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="what we call ourselves; lines of X-Robots-Tag that begin with it are meant for us",
    )
    contact: str = Field("", pattern=r"^[ -~]{0,200}$", description="URL or mail address told to every host")
    opt_out: tuple[str, ...] = Field(
        ("noai", "noimageai", "noindex", "noimageindex"),
        description="words of X-Robots-Tag that say no; TDM-Reservation: 1 does, too",
    )


class PinnedSource(RemoteSource, ABC):
    """A source whose files can be named with the version that is meant."""

    revision: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="hf://: the commit (40 hex digits), unless the URL has it (@COMMIT); elsewhere any word that you "
        "change to have the files listed anew",
    )

    @abstractmethod
    def addresses(self) -> tuple[str, ...]:
        """The URLs as they are written."""

    @model_validator(mode="after")
    def _pins_what_moves(self) -> Self:
        for url in self.addresses():
            named = _HUB.match(url)
            if (named and not _COMMIT.fullmatch(named["commit"] or self.revision)) or _HUB_PAGE.match(url):
                raise ValueError(
                    f"{url} names no commit, so that tomorrow it may be another data set: set revision to the 40 hex "
                    "digits of its page, Files and versions, or write @COMMIT (resolve/COMMIT) into the URL"
                )
        return self

    def pinned(self, url: str) -> str:
        """The URL with the commit in it, where the file system knows commits."""
        named = _HUB.match(url)
        if named is None or named["commit"]:
            return url
        return f"{named[0]}@{self.revision}{url[named.end() :]}"


class RemoteFilesSource(PinnedSource):
    """Pictures in a folder of any file system that fsspec knows: s3://, gs://, hf://, http(s)://, file://, memory://."""

    kind: Literal["remote"]
    url: str = Field(
        pattern=r"^[a-z0-9+]+://.+", description="the folder, or a shell pattern: s3://bucket/photos/**.jpg"
    )
    include: Annotated[tuple[Pattern, ...], Globs] = ("*",)
    exclude: Annotated[tuple[Pattern, ...], Globs] = ()
    labels: Labels = "none"

    def addresses(self) -> tuple[str, ...]:
        """The URL as it is written."""
        return (self.url,)


class ParquetSource(PinnedSource):
    """Pictures that lie in Parquet files, as the datasets library and the Hugging Face hub keep them."""

    kind: Literal["parquet"]
    files: tuple[Pattern, ...] = Field(min_length=1, description="paths, shell patterns or fsspec URLs")
    columns: Columns = Columns(label="label")

    def addresses(self) -> tuple[str, ...]:
        """The URLs as they are written."""
        return self.files


class TarIndexSource(PinnedSource):
    """Members of tars, read one by one through an index of offsets, as mirrors of Danbooru keep them."""

    kind: Literal["tar-index"]
    tars: tuple[Pattern, ...] = Field(
        min_length=1, description="paths, http(s) or fsspec URLs; {0000..0999} stands for each number"
    )
    index: str = Field(
        "", description="where a tar's JSON index is: {name} = the tar's name without .tar; empty = beside the tar"
    )
    members: Annotated[tuple[Pattern, ...], Globs] = ("*",)
    metadata: Tables = ()
    columns: Columns = Columns(md5="")  # of Danbooru's originals, which not every mirror keeps
    rows: Literal["all", "indexed"] = Field(
        "all",
        description="all = what the metadata name and no index holds is a row, too (missing); indexed = it is not, for "
        "when only a few of the tars are taken",
    )

    def addresses(self) -> tuple[str, ...]:
        """The URLs as they are written."""
        return (*self.tars, *([self.index] if self.index else []))
