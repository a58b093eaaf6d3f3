"""Asking others for many things at once: in turns, again where it helps, each ending as bytes or as a reason."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, Protocol

from manifests.sources.remote import Limits
from tasks.sources.answers import AskAgain, MovedTo, NotGiven
from tasks.sources.found import Progress
from tasks.sources.polite import Turns, Wanted

logger = logging.getLogger(__name__)

SAY_EVERY = 15.0  # seconds


class Handlers(NamedTuple):
    """What is done with an answer; called by many threads. `keep` raises NotGiven when the bytes are not the thing."""

    keep: Callable[[Wanted, bytes], None]
    fail: Callable[[Wanted, NotGiven], None]


class Giver(Protocol):
    """Whoever can be asked, by many threads: the web, or a file system."""

    def get(self, wanted: Wanted, most_bytes: int) -> bytes:
        """The bytes; NotGiven, AskAgain or MovedTo when there are none to be had here and now."""

    def leave(self, host: str, facts: dict[str, Any]) -> None:
        """Give nothing of this host any more."""


def gather(
    wanted: Sequence[Wanted], giver: Giver, limits: Limits, handlers: Handlers, progress: Progress
) -> Counter[str]:
    """Ask for everything within the limits; returns how many came ("fetched") and how many did not, by reason."""
    tally = Tally(len(wanted), progress)
    if not wanted:
        return tally.counts
    turns = Turns(wanted, limits)
    asker = _Asker(giver, turns, limits, handlers, tally)
    num_threads = min(limits.connections, len(wanted))
    with ThreadPoolExecutor(num_threads, "fetch") as pool:
        asking = [pool.submit(asker.run) for _ in range(num_threads)]
        try:
            _watch(asking, tally)
        finally:
            turns.stop()
    for future in asking:
        future.result()
    tally.say(last=True)
    return tally.counts


def _watch(asking: Sequence[Future[None]], tally: Tally) -> None:
    """Tell of the progress until all is asked for or something broke."""
    waiting: Collection[Future[None]] = asking
    while waiting:
        done, waiting = wait(waiting, 1.0, FIRST_COMPLETED)
        tally.say()
        if any(future.exception() for future in done):
            return


class Tally:
    """How many answers there were, of which kind, and how long the rest will take."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress = total, progress
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.began = self.said = time.monotonic()

    def count(self, reason: str) -> None:
        """One more of these."""
        with self.lock:
            self.counts[reason] += 1

    def say(self, last: bool = False) -> None:
        """Move the progress; every so often a line with rate, time left and reasons."""
        now = time.monotonic()
        with self.lock:
            counts = dict(self.counts.most_common())
        done = sum(counts.values())
        self.progress(done, self.total, "pictures")
        if last or now - self.said >= SAY_EVERY:
            self.said = now
            logger.info("%s", progress_line(counts, self.total, now - self.began))


def progress_line(counts: dict[str, int], total: int, seconds: float) -> str:
    """Such as `1,200 of 5,000 (24 %), 310/s, 12 s left: 1,180 fetched, 20 unavailable`."""
    done = sum(counts.values())
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts.items())
    return f"{done:,} of {total:,} ({done / total:.0%}), {rate:.0f}/s{left}: {reasons or 'none yet'}"


class _Asker:
    def __init__(self, giver: Giver, turns: Turns, limits: Limits, handlers: Handlers, tally: Tally) -> None:
        self.giver, self.turns, self.limits, self.handlers, self.tally = giver, turns, limits, handlers, tally

    def run(self) -> None:
        """Take turns until nothing is left."""
        while (item := self.turns.take()) is not None:
            self._ask(item)

    def _ask(self, item: Wanted) -> None:
        try:
            self.handlers.keep(item, self.giver.get(item, most_bytes_of(item, self.limits)))
            self._settle(item, "fetched")
        except MovedTo as moved:
            self._follow(item, moved.url)
        except AskAgain as answer:
            self._again(item, answer)
        except NotGiven as answer:
            self._give_up(item, answer)

    def _follow(self, item: Wanted, url: str) -> None:
        if item.hops >= self.limits.max_redirects:
            self._give_up(item, NotGiven("unavailable", error="too many redirects"))
        else:
            self.turns.again(item, item._replace(url=url, hops=item.hops + 1))

    def _again(self, item: Wanted, answer: AskAgain) -> None:
        seconds = min(2.0**item.tries, self.limits.max_wait_seconds) if answer.seconds is None else answer.seconds
        too_long = seconds > self.limits.max_wait_seconds
        if too_long and answer.whole_host:
            self.giver.leave(item.host, answer.facts)
        if too_long or item.tries + 1 >= self.limits.tries:
            self._give_up(item, NotGiven("unavailable", **answer.facts))
            return
        self.turns.again(item, item._replace(tries=item.tries + 1), seconds, answer.whole_host)

    def _give_up(self, item: Wanted, answer: NotGiven) -> None:
        self.handlers.fail(item, answer)
        self._settle(item, answer.reason)

    def _settle(self, item: Wanted, reason: str) -> None:
        self.tally.count(reason)
        self.turns.done(item)


def most_bytes_of(item: Wanted, limits: Limits) -> int:
    """Bytes above which an answer is not read on."""
    return limits.max_picture_bytes if item.span is None else item.span[1] - item.span[0]
