"""Politeness towards other people's machines: who may be asked now, how often at once, and how many bytes may come."""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from manifests.sources.remote import Limits

Clock = Callable[[], float]


class Wanted(NamedTuple):
    """Something to ask a host for."""

    url: str
    what: Any  # what the asker knows it by
    span: tuple[int, int] | None = None  # bytes of the file, half-open; None = all of it
    tries: int = 0
    hops: int = 0

    @property
    def host(self) -> str:
        """The host and port that share its limits; empty for an address that is none."""
        try:
            return urlsplit(self.url).netloc.rpartition("@")[2].lower()
        except ValueError:
            return ""


class Bandwidth:
    """A bucket of bytes that fills at a steady rate, for all connections together; who takes too much waits."""

    def __init__(
        self, bytes_per_second: float | None, clock: Clock = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.rate, self.clock, self.sleep = bytes_per_second, clock, sleep
        self.lock = threading.Lock()
        self.paid_until = clock()

    def take(self, num_bytes: int) -> None:
        """Account for bytes that came, and wait as long as they should have taken."""
        if self.rate is None:
            return
        with self.lock:
            now = self.clock()
            self.paid_until = max(self.paid_until, now) + num_bytes / self.rate
            wait = self.paid_until - now
        self.sleep(wait)


@functools.cache
def shared_bandwidth(bytes_per_second: float | None) -> Bandwidth:
    """The one bucket of all downloads that are held to this rate."""
    return Bandwidth(bytes_per_second)


class Turns:
    """Whose turn it is: wanted things by host, within each host's limits of connections and of requests a second.

    A host that is slow, dead or long in the list holds up nobody else's. Safe for any number of threads.
    """

    def __init__(self, wanted: Iterable[Wanted], limits: Limits, clock: Clock = time.monotonic) -> None:
        self.per_host, self.gap, self.clock = limits.per_host, 1.0 / limits.requests_per_second, clock
        self.changed = threading.Condition()
        self.number = itertools.count()  # of equal times the earlier entry is first
        self.lines: dict[str, deque[Wanted]] = {}
        self.open: Counter[str] = Counter()
        self.not_before: dict[str, float] = {}
        self.ready: list[tuple[float, int, str]] = []  # hosts that may be asked from a time on, each once
        self.offered: set[str] = set()
        self.later: list[tuple[float, int, Wanted]] = []
        self.stopped = False
        for item in wanted:
            self.lines.setdefault(item.host, deque()).append(item)
        for host in self.lines:
            self._offer(host)

    def take(self) -> Wanted | None:
        """The next one whose host may be asked, as soon as there is one; None when nothing is left or after stop()."""
        with self.changed:
            while not self.stopped:
                wait = self._settle(self.clock())
                if wait == 0:
                    return self._serve(heapq.heappop(self.ready)[2])
                if wait is None and not self.open.total():
                    break
                self.changed.wait(wait)
            self.changed.notify_all()
            return None

    def done(self, item: Wanted) -> None:
        """The host has answered for good."""
        with self.changed:
            self._close(item)

    def again(self, item: Wanted, following: Wanted, seconds: float = 0.0, whole_host: bool = False) -> None:
        """What follows on an answer after so many seconds: another try, or the place that a redirect names."""
        with self.changed:
            at = self.clock() + seconds
            heapq.heappush(self.later, (at, next(self.number), following))
            if whole_host:
                self.not_before[item.host] = max(at, self.not_before.get(item.host, 0.0))
            self._close(item)

    def stop(self) -> None:
        """Nothing is given out any more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def _settle(self, now: float) -> float | None:
        """Seconds until the next host may be asked, None when only an answer can change that."""
        while self.later and self.later[0][0] <= now:
            item = heapq.heappop(self.later)[2]
            self.lines.setdefault(item.host, deque()).append(item)
            self._offer(item.host)
        while self.ready and self.ready[0][0] < (at := self.not_before.get(self.ready[0][2], 0.0)):
            heapq.heapreplace(self.ready, (at, next(self.number), self.ready[0][2]))
        times = [entries[0][0] for entries in (self.ready, self.later) if entries]
        return max(0.0, min(times) - now) if times else None

    def _serve(self, host: str) -> Wanted:
        self.offered.discard(host)
        self.open[host] += 1
        self.not_before[host] = self.clock() + self.gap
        item = self.lines[host].popleft()
        self._offer(host)
        return item

    def _offer(self, host: str) -> None:
        """Let the host be asked from its time on, if there is something to ask and it has a connection left."""
        if host not in self.offered and self.lines.get(host) and self.open[host] < self.per_host:
            self.offered.add(host)
            heapq.heappush(self.ready, (self.not_before.get(host, 0.0), next(self.number), host))

    def _close(self, item: Wanted) -> None:
        self.open[item.host] -= 1
        self._offer(item.host)
        self.changed.notify_all()
