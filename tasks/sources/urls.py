"""Pictures named by URL in tables: asked for politely, once, and each a row whatever comes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from manifests.sources.remote import UrlsSource
from tasks.errors import SourceUnavailable
from tasks.sources.address import shown
from tasks.sources.bring import bring
from tasks.sources.expected import MOST_HEAD, web_page_title
from tasks.sources.found import About, Found, Origins, Progress, absent, content_path, facts_digest, reason_before
from tasks.sources.gather import Handlers, gather
from tasks.sources.journal import Failed, Journal, Kept, key_of
from tasks.sources.places import Place, check_places, local_state
from tasks.sources.polite import Wanted
from tasks.sources.rows import Row, about_of_row, judge_columns, read_rows, text_of
from tasks.sources.web import NotGiven, Visitor

logger = logging.getLogger(__name__)


class Named(NamedTuple):
    """A picture as a table names it."""

    origin: str
    url: str
    about: About
    label: str | None
    sha256: str
    md5: str

    @property
    def key(self) -> str:
        """What the journal knows its answer by: a picture that is to have another digest is another one."""
        return key_of(self.url, self.md5)


def check_urls(config: UrlsSource) -> None:
    """ValueError when a table is not there."""
    check_places(config.tables)


def urls_home(config: UrlsSource) -> object:
    """What was fetched stays known when the tables grow, or the limits or the selection change."""
    return sorted(shown(table) for table in config.tables)


def urls_fingerprint(config: UrlsSource) -> object:
    """Which tables they are, and what decides about an answer."""
    tables = [local_state(table) for table in config.tables]
    return [tables, config.columns.model_dump(), _round(config)]


def _round(config: UrlsSource) -> str:
    """A digest of what may make another answer of the same question."""
    limits = config.limits
    strict = [limits.max_picture_bytes, limits.max_redirects, limits.allow_private]
    return facts_digest([config.retry, strict, config.user_agent, config.opt_out])


def find_by_urls(config: UrlsSource, work: Path, progress: Progress) -> Iterator[Found]:
    """Every row of the tables, in their order.

    What is not selected is not asked for. What came before is not asked for again, nor what failed before, unless
    `retry` is another number. SourceUnavailable when nothing at all came of many questions.
    """
    pictures = list(_named(config, bring(config.tables, work, progress)))
    with Journal(work, _round(config)) as journal:
        chosen = [picture for picture in pictures if not _reason_before(config, picture)]
        new = {picture.key: picture for picture in chosen if journal.get(picture.key) is None}
        _ask(config, list(new.values()), journal, progress)
        _judge_all(config, chosen, journal)
        outcomes = [_found(config, picture, journal, work) for picture in pictures]
    progress(len(outcomes), len(outcomes), "pictures")
    return iter(outcomes)


def _named(config: UrlsSource, tables: Iterable[Place]) -> Iterator[Named]:
    origins, columns = Origins(), config.columns
    for table in tables:
        for number, row in enumerate(read_rows(table)):
            if number == 0:
                judge_columns(table, row, columns, "url")
            yield _picture(config, row, origins)


def _picture(config: UrlsSource, row: Row, origins: Origins) -> Named:
    columns = config.columns
    url = text_of(row, columns.url)
    about = about_of_row(row, columns)
    about = about._replace(facts={"url": shown(url), **about.facts})
    origin = origins.give(text_of(row, columns.id) or shown(url).partition("://")[2])
    label = text_of(row, columns.label) or None if columns.label else None
    return Named(origin, url, about, label, text_of(row, columns.sha256).lower(), text_of(row, columns.md5).lower())


def _reason_before(config: UrlsSource, picture: Named) -> str:
    return reason_before(config, picture.origin, picture.about, picture.label)


def _ask(config: UrlsSource, pictures: list[Named], journal: Journal, progress: Progress) -> None:
    visitor = Visitor(config.user_agent, config.contact, config.opt_out)
    wanted = [Wanted(picture.url, picture) for picture in pictures]

    def keep(item: Wanted, data: bytes) -> None:
        judge_bytes(data, item.what.md5)
        journal.keep(item.what.key, data)

    def fail(item: Wanted, answer: NotGiven) -> None:
        journal.fail(item.what.key, answer.reason, **answer.facts)

    gather(wanted, config.limits, visitor, Handlers(keep, fail), progress)


def judge_bytes(data: bytes, md5: str) -> None:
    """NotGiven when what came is no picture at all or not the one that was meant."""
    if not data:
        raise NotGiven("empty")
    if (title := web_page_title(data[:MOST_HEAD])) is not None:
        raise NotGiven("not_a_picture", page=title)
    if md5 and (found := hashlib.md5(data, usedforsecurity=False).hexdigest()) != md5:
        raise NotGiven("wrong_bytes", md5=found)


def _judge_all(config: UrlsSource, chosen: list[Named], journal: Journal) -> None:
    """SourceUnavailable, and no memory of it, when not one picture came: that is a network, not a data set."""
    outcomes = [journal.get(picture.key) for picture in chosen]
    if not outcomes or any(isinstance(outcome, Kept) for outcome in outcomes):
        return
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if any(failure.reason != "unavailable" for failure in failures):
        return
    journal.forget_failures()
    first = chosen[0]
    raise SourceUnavailable(
        f"none of {len(chosen):,} pictures of {config.name or config.kind} came; the first, {shown(first.url)}: "
        f"{failures[0].facts}. Look at the network and at the tables, then run again: all will be asked for again"
    )


def _found(config: UrlsSource, picture: Named, journal: Journal, work: Path) -> Found:
    if reason := _reason_before(config, picture):
        return absent(picture.origin, work, reason, picture.about)._replace(label=picture.label)
    outcome = journal.get(picture.key)
    assert outcome is not None, "everything chosen was asked for"
    outcome = _judged(outcome, picture, config.limits.max_picture_bytes)
    if isinstance(outcome, Kept):
        path = content_path(work, outcome.id)
        return Found(picture.origin, path, outcome.id, outcome.bytes, picture.label, "", picture.about)
    about = picture.about._replace(facts={**picture.about.facts, **outcome.facts})
    return absent(picture.origin, work, outcome.reason, about)._replace(label=picture.label)


def _judged(outcome: Kept | Failed, picture: Named, most_bytes: int) -> Kept | Failed:
    """What came before under wider limits, or for a table that said less, is judged by what is asked now."""
    if isinstance(outcome, Kept) and outcome.bytes > most_bytes:
        return Failed("too_large", {"limit": most_bytes}, "")
    if isinstance(outcome, Kept) and picture.sha256 and outcome.id != picture.sha256:
        return Failed("wrong_bytes", {"sha256": outcome.id}, "")
    return outcome
