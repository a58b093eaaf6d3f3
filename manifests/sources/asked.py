"""What every source is asked, whatever its kind."""

from __future__ import annotations

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
