"""What every source is asked, whatever its kind."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from manifests.expression import parse_expression

Pattern = Annotated[str, Field(min_length=1)]
Globs = Field(description="shell patterns on the name in the source, in any case; * crosses folders: *.jpg")
Labels = Annotated[
    Literal["none", "folders"],
    Field(description="folders = the class of a picture is the folder it lies in; none = no classes"),
]


class SourceConfig(BaseModel):
    """Name, terms, selection and weight of a source."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: str
    name: str = Field(
        "", pattern=r"^[a-z0-9_-]{0,64}$", description="name in the ledger's source column; empty = its kind"
    )
    licence: str = Field("", description="licence of the pictures, copied into each row of the ledger")
    attribution: str = Field("", description="who must be named")
    where: str = Field(
        "",
        description="which pictures are wanted, an expression over what the source says of each: "
        "\"rating in ['g', 's'] and score >= 10 and '1girl' in tags\"; the others get the reason not_selected",
    )
    weight: float = Field(
        1.0, gt=0, le=1000, description="how often training shows a face of this source, beside one of weight 1"
    )

    @field_validator("where")
    @classmethod
    def _parses(cls, where: str) -> str:
        parse_expression(where)
        return where


class MirroredFile(BaseModel):
    """One file: where it may be had and how it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    urls: tuple[str, ...] = Field(min_length=1, description="http(s) URLs or local paths of one file, tried in turn")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="digest of the file, hex")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$", description="where only that is public, hex")
    bytes: int | None = Field(None, gt=0, description="size of the file")

    @field_validator("urls")
    @classmethod
    def _known_scheme(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
            if not url.strip() or (scheme and scheme[1].lower() not in ("http", "https")):
                raise ValueError(f"{url!r} is neither an http(s) URL nor a local path")
        return urls


class Terms(BaseModel):
    """What one agrees to by downloading, and how fast that may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    terms: str = Field("", description="what one agrees to by downloading; a text here makes terms_ack necessary")
    terms_ack: bool = Field(False, description="true = the terms are read and accepted")
    seen: str = Field("", description="when and where these facts were last checked")
    bytes_per_second: float | None = Field(
        None, gt=0, description="of its downloads, all together; nothing = as fast as it goes"
    )


class UnpackLimits(BaseModel):
    """What an archive may unpack to before it is refused as a bomb."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    max_member_bytes: int = Field(512 * 2**20, gt=0, description="an archive with a larger member is refused as a bomb")
    max_total_bytes: int = Field(256 * 2**30, gt=0, description="an archive that unpacks to more is refused")
    max_ratio: float = Field(200.0, gt=1, description="or to more times its own size (above 64 MiB)")
