"""Whole files that a source reads beside its pictures: tables and indexes, from here, http(s) or any file system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tasks.sources.expected import Expected
from tasks.sources.found import Progress, facts_digest
from tasks.sources.places import Place, place_of, places_of
from tasks.sources.transfer import PATIENCE, Download, Patience, fetch_all, is_url

MOST_BYTES = 64 << 30  # of a table


def bring(addresses: Sequence[str], work: Path, progress: Progress, patience: Patience = PATIENCE) -> list[Place]:
    """The files, readable: those behind http(s) come to lie in `work` and are not asked for again."""
    behind = {address: _target(address, work) for address in addresses if is_url(address)}
    coming = [
        Download([address], target, Expected(most_bytes=MOST_BYTES))
        for address, target in behind.items()
        if not target.is_file()
    ]
    if coming:
        fetch_all(coming, progress, patience)
    places: list[Place] = []
    for address in addresses:
        places += [place_of(str(behind[address]))] if address in behind else places_of([address])
    return places


def _target(address: str, work: Path) -> Path:
    name = urlsplit(address).path.rpartition("/")[2] or "table"
    folder = work / "tables" / facts_digest(address)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
