"""From what came of a question to a row: the same for URLs, folders, tables and tars of other machines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from manifests.sources.remote import RemoteSource
from tasks.errors import SourceUnavailable
from tasks.sources.answers import NotGiven
from tasks.sources.expected import MOST_HEAD, web_page_title
from tasks.sources.found import NOTHING, About, Found, absent, content_path
from tasks.sources.journal import Failed, Journal, Kept, Outcome


class Entry(NamedTuple):
    """A picture as its source names it."""

    origin: str
    about: About = NOTHING
    label: str | None = None

    def found(self, outcome: Outcome, work: Path) -> Found:
        """Its row, with the bytes that came or the facts of why none did."""
        if isinstance(outcome, Kept):
            path = content_path(work, outcome.id)
            return Found(self.origin, path, outcome.id, outcome.bytes, self.label, "", self.about)
        about = self.about._replace(facts={**self.about.facts, **outcome.facts})
        return self._replace(about=about).missing(outcome.reason, work)

    def missing(self, reason: str, work: Path) -> Found:
        """Its row without bytes."""
        return absent(self.origin, work, reason, self.about)._replace(label=self.label)


def judge_bytes(data: bytes, md5: str = "", sha256: str = "") -> None:
    """NotGiven when what came is no picture at all or not the one that was meant."""
    if not data:
        raise NotGiven("empty")
    if (title := web_page_title(data[:MOST_HEAD])) is not None:
        raise NotGiven("not_a_picture", page=title)
    for kind, digest in (("md5", md5), ("sha256", sha256)):
        if digest and (found := hashlib.new(kind, data, usedforsecurity=False).hexdigest()) != digest:
            raise NotGiven("wrong_bytes", **{kind: found})


def judge_all(title: str, keys: Sequence[str], journal: Journal) -> None:
    """SourceUnavailable, and no memory of it, when not one of many came: that is a network, not a data set."""
    outcomes = [journal.get(key) for key in keys]
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed) and outcome.reason == "unavailable"]
    if not outcomes or len(failures) < len(outcomes):
        return
    journal.forget_failures()
    raise SourceUnavailable(
        f"none of {len(keys):,} pictures of {title} came; of the first is known: {failures[0].facts}. Look at the "
        "network and at what the source says, then run again: all will be asked for again"
    )


def title_of(config: RemoteSource) -> str:
    """What to call a source when talking of it."""
    return config.name or config.kind
