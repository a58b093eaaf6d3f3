"""Where pictures come from: one adapter a file. A new source is a config, a function, a line in SOURCES and a test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manifests.sources import Source
from tasks.sources.archive import archive_fingerprint, check_archive, find_in_archive
from tasks.sources.celeba import celeba_fingerprint, celeba_home, check_celeba, find_in_celeba
from tasks.sources.danbooru import check_danbooru, danbooru_fingerprint, danbooru_home, find_in_danbooru
from tasks.sources.ffhq import check_ffhq, ffhq_fingerprint, ffhq_home, find_in_ffhq
from tasks.sources.folder import check_folder, find_in_folder, folder_fingerprint
from tasks.sources.found import Found, Progress
from tasks.sources.lmdb_values import check_lmdb, find_in_lmdb, lmdb_fingerprint
from tasks.sources.nvidia_zip import find_in_nvidia_zip, nvidia_zip_fingerprint
from tasks.sources.parquet import check_parquet, find_in_parquet, parquet_fingerprint, parquet_home
from tasks.sources.remote_files import check_remote, find_remote, remote_fingerprint, remote_home
from tasks.sources.tar_index import check_tar_index, find_in_tars, tar_index_fingerprint, tar_index_home
from tasks.sources.toon import draw_toon, toon_fingerprint
from tasks.sources.urls import check_urls, find_by_urls, urls_fingerprint, urls_home
from tasks.sources.webdataset_shards import (
    check_webdataset,
    find_in_webdataset,
    webdataset_fingerprint,
    webdataset_home,
)
from tasks.store import digest_of

__all__ = ["SOURCES", "Found", "Progress", "check_source", "source_fingerprint", "source_home"]

# What a source is asked: its files (into a folder of its own that is kept between tries), a cheap digest, a check.
SOURCES: dict[str, Callable[[Any, Path, Progress], Iterator[Found]]] = {
    "folder": find_in_folder,
    "archive": find_in_archive,
    "nvidia-zip": find_in_nvidia_zip,
    "lmdb": find_in_lmdb,
    "celeba": find_in_celeba,
    "ffhq": find_in_ffhq,
    "danbooru": find_in_danbooru,
    "webdataset": find_in_webdataset,
    "toon": draw_toon,
    "urls": find_by_urls,
    "remote": find_remote,
    "parquet": find_in_parquet,
    "tar-index": find_in_tars,
}
_FINGERPRINTS: dict[str, Callable[[Any], object]] = {
    "folder": folder_fingerprint,
    "archive": archive_fingerprint,
    "nvidia-zip": nvidia_zip_fingerprint,
    "lmdb": lmdb_fingerprint,
    "celeba": celeba_fingerprint,
    "ffhq": ffhq_fingerprint,
    "danbooru": danbooru_fingerprint,
    "webdataset": webdataset_fingerprint,
    "toon": toon_fingerprint,
    "urls": urls_fingerprint,
    "remote": remote_fingerprint,
    "parquet": parquet_fingerprint,
    "tar-index": tar_index_fingerprint,
}
_CHECKS: dict[str, Callable[[Any], None]] = {
    "folder": check_folder,
    "archive": check_archive,
    "nvidia-zip": check_archive,
    "lmdb": check_lmdb,
    "celeba": check_celeba,
    "ffhq": check_ffhq,
    "danbooru": check_danbooru,
    "webdataset": check_webdataset,
    "urls": check_urls,
    "remote": check_remote,
    "parquet": check_parquet,
    "tar-index": check_tar_index,
}
# Sources that keep more than their fingerprint holds for: files that change and digests that stay, archives that stay
# beside small files that change. The others have a folder for each fingerprint.
_HOMES: dict[str, Callable[[Any], object]] = {
    "folder": lambda config: config.path,
    "celeba": celeba_home,
    "ffhq": ffhq_home,
    "danbooru": danbooru_home,
    "webdataset": webdataset_home,
    "urls": urls_home,
    "remote": remote_home,
    "parquet": parquet_home,
    "tar-index": tar_index_home,
}


def source_fingerprint(config: Source) -> str:
    """A cheap digest (sha256, hex) of what the source would give now; no picture is read and no network touched.

    A folder answers with its files' names, sizes and times, an archive with its stated digest (else its URLs, or size
    and time when it lies here), drawn pictures with their config. ValueError when a folder is missing.
    """
    facts = [config.kind, _FINGERPRINTS[config.kind](config)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def source_home(config: Source) -> str:
    """What the name of the folder that a source keeps its files in ends with, hex."""
    home = _HOMES.get(config.kind)
    return digest_of(home(config)) if home else source_fingerprint(config)[:16]


def check_source(config: Source) -> None:
    """Say no before any work: ValueError for a folder or file that is not there, Refused for terms not accepted."""
    if check := _CHECKS.get(config.kind):
        check(config)
