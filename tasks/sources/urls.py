"""Pictures named by URL in tables: asked for politely, once, and each a row whatever comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from manifests.sources.remote import UrlsSource
from tasks.errors import IntegrityError
from tasks.sources.address import shown
from tasks.sources.answers import NotGiven
from tasks.sources.bring import bring
from tasks.sources.found import About, Found, Origins, Progress, facts_digest, reason_before
from tasks.sources.gather import Handlers, gather
from tasks.sources.journal import Failed, Journal, Kept, key_of
from tasks.sources.outcomes import Entry, judge_all, judge_bytes, title_of
from tasks.sources.places import Place, check_places, local_state
from tasks.sources.polite import Bandwidth, Wanted
from tasks.sources.rows import Row, about_of_row, judge_columns, read_rows, text_of
from tasks.sources.web import Visitor, Web


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
    if not pictures:
        raise IntegrityError(f"no row in {', '.join(map(shown, config.tables))}: pictures named by URL were expected")
    with Journal(work, _round(config)) as journal:
        chosen = [picture for picture in pictures if not _reason_before(config, picture)]
        new = {picture.key: picture for picture in chosen if journal.get(picture.key) is None}
        _ask(config, list(new.values()), journal, progress)
        judge_all(title_of(config), [picture.key for picture in chosen], journal)
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
        judge_bytes(data, md5=item.what.md5)
        journal.keep(item.what.key, data)

    def fail(item: Wanted, answer: NotGiven) -> None:
        journal.fail(item.what.key, answer.reason, **answer.facts)

    with Web(config.limits, visitor, Bandwidth(config.limits.bytes_per_second)) as web:
        gather(wanted, web, config.limits, Handlers(keep, fail), progress)


def _found(config: UrlsSource, picture: Named, journal: Journal, work: Path) -> Found:
    entry = Entry(picture.origin, picture.about, picture.label)
    if reason := _reason_before(config, picture):
        return entry.missing(reason, work)
    outcome = journal.get(picture.key)
    assert outcome is not None, "everything chosen was asked for"
    return entry.found(_judged(outcome, picture, config.limits.max_picture_bytes), work)


def _judged(outcome: Kept | Failed, picture: Named, most_bytes: int) -> Kept | Failed:
    """What came before under wider limits, or for a table that said less, is judged by what is asked now."""
    if isinstance(outcome, Kept) and outcome.bytes > most_bytes:
        return Failed("too_large", {"limit": most_bytes}, "")
    if isinstance(outcome, Kept) and picture.sha256 and outcome.id != picture.sha256:
        return Failed("wrong_bytes", {"sha256": outcome.id}, "")
    return outcome
