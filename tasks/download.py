"""download: every source's files, each a row; exact copies leave here, by name of the one that stays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from manifests.expression import is_wanted
from manifests.ledger import count_reasons, ledger_of
from manifests.sources import Source
from tasks.buckets import bucket_of, write_buckets
from tasks.job import Job
from tasks.sources import SOURCES, Found, source_fingerprint, source_home
from tasks.sources.found import known_of
from tasks.stage import Outcome, Place, stage
from tasks.store import Bucket


def _asked(job: Job) -> Any:
    return {
        "buckets": job.manifest.buckets,
        "sources": [
            {
                "name": source.name or source.kind,
                "licence": source.licence,
                "where": source.where,
                "found": source_fingerprint(source),
            }
            for source in job.manifest.sources
        ],
    }


@stage("download", version=3, config=_asked)
def download_pictures(at: Place) -> Outcome:
    """Fetch or find the files of every source and give each a row, bucket by bucket."""
    rows, paths = [], []
    for source in at.job.manifest.sources:
        for file in SOURCES[source.kind](source, source_folder(at.job, source), at.progress):
            rows.append(_row(file, source))
            paths.append({"id": file.id, "path": str(file.path)})
    ledger = ledger_of(_without_copies(rows))
    buckets = write_buckets(at, ledger)
    _write_paths(at, buckets, pd.DataFrame(paths).drop_duplicates("id"))
    return Outcome(buckets=buckets, counts=count_reasons(ledger))


def source_folder(job: Job, source: Source) -> Path:
    """Where a source keeps what it fetched: kept between tries and shared by manifests that ask for the same."""
    folder = job.root / "sources" / f"{source.name or source.kind}-{source_home(source)}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(file: Found, source: Source) -> dict[str, Any]:
    about = file.about
    return {
        "id": file.id,
        "kind": "picture",
        "picture": file.id,
        "source": source.name or source.kind,
        "origin": file.origin,
        "licence": about.licence or source.licence,
        "label": file.label or "",
        "rating": about.rating,
        "tags": about.tags,
        "facts": json.dumps(about.facts, sort_keys=True, ensure_ascii=False) if about.facts else "",
        "bytes": file.bytes,
        "reason": file.reason or _reason(file, source),
    }


def _reason(file: Found, source: Source) -> str:
    if not is_wanted(source.where, about_of(file, source)):
        return "not_selected"
    return "" if file.bytes else "empty"


def about_of(file: Found, source: Source) -> dict[str, Any]:
    """What an expression of `where` may ask of a file."""
    return {**known_of(source, file.origin, file.about, file.label), "bytes": file.bytes}


def _without_copies(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Of files with the same bytes the first by source and name stays, in whatever order they came."""
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: (row["id"], row["source"], row["origin"])):
        if row["reason"]:  # what is not kept anyway stands for nobody
            yield row
            continue
        yield {**row, "reason": f"duplicate_of:{row['id']}"} if row["id"] in seen else row
        seen.add(row["id"])


def _write_paths(at: Place, buckets: dict[str, Bucket], paths: pd.DataFrame) -> None:
    """Where each picture's bytes lie, beside the ledger, not in it: pictures that moved are the same pictures."""
    num_buckets = at.job.manifest.buckets
    for name, rows in paths.groupby(paths["id"].map(lambda i: bucket_of(i, num_buckets))):
        rows.to_parquet(at.job.root / buckets[str(name)].folder / "paths.parquet", index=False)
