"""What is checked before any work: sources, assets, donor, disk."""

from __future__ import annotations

from pathlib import Path

from imaging.detect import NEEDS
from manifests.schema import Manifest
from manifests.sources import (
    DanbooruSource,
    FolderSource,
    LmdbSource,
    PackedSource,
    ParquetSource,
    Source,
    ToonSource,
    WebdatasetSource,
)
from manifests.sources.sets import SetSource
from tasks.assets import find_asset
from tasks.crop import detector_files
from tasks.job import Job
from tasks.sources import check_source
from tasks.sources.danbooru import list_tree
from tasks.sources.lmdb_values import lmdb_file
from tasks.sources.parquet import local_size
from tasks.sources.picture_set import list_set, set_folder
from tasks.sources.webdataset_shards import local_bytes
from tasks.train import donor_digest
from tasks.upscale import needed_assets as upscale_assets

TOON_BYTES = 160_000  # of a drawn picture, measured
FIXED_BYTES = 200_000_000  # checkpoints, films, reports


def check_before(job: Job) -> None:
    """Raise what the work would run into later: a missing folder, asset, donor, terms not accepted."""
    manifest = job.manifest
    for source in manifest.sources:
        check_source(source)
    for asset in needed_assets(manifest):
        find_asset(asset, job.root)
    detector_files(manifest.crop, job.root)  # a network of the user's own is no asset
    if manifest.donor:
        donor_digest(Path(manifest.donor))


def needed_assets(manifest: Manifest) -> list[str]:
    """File names of the model files of others that this manifest needs."""
    return [*NEEDS.get(manifest.crop.detector, ()), *upscale_assets(manifest.upscale)]


def needed_bytes(manifest: Manifest) -> int:
    """Disk that the manifest needs, roughly and rather too much: sources, faces twice, checkpoints."""
    rows = sum(expected_rows(source) or 0 for source in manifest.sources)
    copies = manifest.augment.copies + 1 if manifest.augment else 0  # they lie in a shard of their own first
    faces = rows * manifest.resolution**2 * 3 * 2 * (1 + copies)
    return sum(source_bytes(source) for source in manifest.sources) + faces + FIXED_BYTES


def expected_rows(source: Source) -> int | None:
    """Pictures that a source will give, None when nobody knows before."""
    if isinstance(source, FolderSource):
        return sum(1 for path in Path(source.path).expanduser().rglob("*") if path.is_file())
    if isinstance(source, DanbooruSource):
        return len(list_tree(source))  # more than are wanted, at times
    if isinstance(source, SetSource) and source.count is None and (folder := set_folder(source)):
        return len(list_set(source, folder))
    if isinstance(source, PackedSource):
        return source.count
    if isinstance(source, ParquetSource) and (size := local_size(source)):
        return size[0]
    return source.pictures if isinstance(source, ToonSource) else None


def source_bytes(source: Source) -> int:
    """What a source takes on disk here; pictures in a folder stay where they are."""
    if isinstance(source, ToonSource):
        return source.pictures * TOON_BYTES
    if isinstance(source, SetSource) and set_folder(source):
        return 0
    if isinstance(source, WebdatasetSource):
        return local_bytes(source)  # which its pictures are copied from
    if isinstance(source, PackedSource):
        return 2 * (source.bytes or 0)  # the archive and what it unpacks to
    if isinstance(source, ParquetSource) and (size := local_size(source)):
        return size[1]  # which its pictures are copied from
    if isinstance(source, LmdbSource):
        return lmdb_file(source).stat().st_size  # which its values are copied from
    return 0
