"""Sources that are known data sets, with what is known of each picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from manifests.sources.asked import Globs, MirroredFile, Pattern, SourceConfig, Terms, UnpackLimits
from manifests.sources.files import PackedSource

PICTURES = ("*.jpg", "*.jpeg", "*.png", "*.webp")


class SetSource(PackedSource):
    """Pictures of a known set, in a folder here or in one archive."""

    urls: tuple[str, ...] = Field(
        min_length=1, description="a folder here that holds the pictures, or mirrors of one archive, tried in turn"
    )
    members: Annotated[tuple[Pattern, ...], Globs] = PICTURES


class CelebaSource(SetSource):
    """CelebA, aligned and cropped, with what its text files say (Liu et al., ICCV 2015, arXiv:1411.7766).

    Each text file may be the authors' own or a mirror's CSV of the same name.
    """

    kind: Literal["celeba"]
    count: int | None = Field(202_599, gt=0, description="pictures that there must be; null = any number")
    attributes: MirroredFile | None = Field(None, description="list_attr_celeba.txt: 40 attributes, each -1 or 1")
    identity: MirroredFile | None = Field(None, description="identity_CelebA.txt: who it is, by number")
    landmarks: MirroredFile | None = Field(None, description="list_landmarks_align_celeba.txt: five points, px")
    partition: MirroredFile | None = Field(None, description="list_eval_partition.txt: train, val or test")


class FfhqSource(SetSource):
    """FFHQ with what its json says of each picture (Karras et al., CVPR 2019, arXiv:1812.04948)."""

    kind: Literal["ffhq"]
    pictures: Literal["images1024x1024", "thumbnails128x128", "in-the-wild-images"] = Field(
        "images1024x1024", description="which of its three trees; folders of a thousand or none in it"
    )
    about: MirroredFile | None = Field(None, description="ffhq-dataset-v2.json: licence, author, landmarks, md5")
    verify: bool = Field(True, description="compare each file's md5 with the json's; false for a copy encoded anew")


class DanbooruSource(SourceConfig):
    """A Danbooru20xx tree, TREE/BUCKET/ID.EXT with BUCKET = ID mod 1000, and metadata of its posts."""

    kind: Literal["danbooru"]
    path: str = Field(min_length=1, description="the folder that holds original/ or 512px/; ~ is home")
    tree: Literal["original", "512px"] = Field("original", description="512px/ has lost the small faces")
    metadata: tuple[Pattern, ...] = Field(
        (),
        description="files, or shell patterns of them, from `path`: JSON lines (plain, .gz, .xz, .tar.xz) or Parquet",
    )
    facts: tuple[Pattern, ...] = Field(
        (
            "score", "fav_count", "created_at", "image_width", "image_height", "source",
            "artist", "character", "copyright",
        ),
        description="what the ledger keeps of a post beside rating and tags",
    )  # fmt: skip
    verify: bool = Field(True, description="compare the files of original/ with the md5 of their posts")


class WebdatasetSource(SourceConfig, Terms, UnpackLimits):
    """Tars as WebDataset writes them: members that share a key are one sample, KEY.jpg, KEY.json, KEY.cls, KEY.txt."""

    kind: Literal["webdataset"]
    shards: tuple[Pattern, ...] = Field(
        min_length=1,
        description="paths, shell patterns or http(s) URLs; {0000..0099} stands for each of these numbers",
    )
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        {}, description="digests of shards by file name, hex"
    )

    @field_validator("shards")
    @classmethod
    def _balanced(cls, shards: tuple[str, ...]) -> tuple[str, ...]:
        for shard in shards:
            if shard.count("{") != shard.count("}"):
                raise ValueError(f"{shard!r} has a brace without its partner: {{0000..0099}} is a range")
        return shards
