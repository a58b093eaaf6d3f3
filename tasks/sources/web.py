"""One question to a web server and its answer: bounded in bytes and time, and read only if its owner lets us."""

from __future__ import annotations

import base64
import email.utils
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore

from manifests.sources.remote import Limits
from tasks.sources.address import is_address, is_private
from tasks.sources.answers import AskAgain, MovedTo, NotGiven
from tasks.sources.network import CheckedNetwork, Deadline, PrivateAddress
from tasks.sources.polite import Bandwidth, Wanted

# A status that may be another in a minute.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
# The server as a whole asks for patience, not only this one of its files.
WHOLE_HOST = frozenset({429, 503})
MOVED = frozenset({301, 302, 303, 307, 308})
# A host that could not be connected to so often, and never in between, is not tried any more.
MOST_SILENCE = 10
_AS_IT_IS = "/%:@!$&'()*+,;=~-._"
_PASSING_ERRORS = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError)


class Visitor(NamedTuple):
    """Who we say we are, and which words of a server send us away."""

    user_agent: str = "stylegan-flows"
    contact: str = ""
    opt_out: tuple[str, ...] = ()

    @property
    def header(self) -> str:
        """The User-Agent header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


class Web:
    """A pool of connections for any number of threads."""

    def __init__(self, limits: Limits, visitor: Visitor, bandwidth: Bandwidth) -> None:
        self.limits, self.visitor, self.bandwidth = limits, visitor, bandwidth
        self.deadline = Deadline()
        network = CheckedNetwork(self.deadline, limits.allow_private)
        most = limits.connections
        self.direct = httpcore.ConnectionPool(network_backend=network, max_connections=most, keepalive_expiry=30.0)
        self.proxies = {
            scheme: httpcore.ConnectionPool(proxy=httpcore.Proxy(url), max_connections=most)
            for scheme, url in urllib.request.getproxies().items()
            if scheme in ("http", "https") and url.startswith("http")
        }
        self.silence: Counter[str] = Counter()
        self.closed: dict[str, dict[str, Any]] = {}  # hosts that want to be left alone for longer than we wait
        self.timeouts = {
            "connect": limits.connect_seconds,
            "read": limits.read_seconds,
            "write": limits.read_seconds,
            "pool": None,
        }

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self.direct, *self.proxies.values()):
            pool.close()

    def leave(self, host: str, facts: dict[str, Any]) -> None:
        """Ask this host for nothing any more."""
        self.closed[host] = facts

    def get(self, wanted: Wanted, most_bytes: int) -> bytes:
        """The answer's body; NotGiven, AskAgain or MovedTo when there is none to be had here and now."""
        host = _judge_address(wanted.url, self.limits.allow_private)
        if self.silence[host] >= MOST_SILENCE:
            raise NotGiven("unavailable", error="the host does not answer")
        if host in self.closed:
            raise NotGiven("unavailable", **self.closed[host])
        self.deadline.begin(self.limits.total_seconds)
        try:
            return self._exchange(wanted, most_bytes)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            self.silence[host] += 1
            raise AskAgain({"error": _words(error)}) from error
        except _PASSING_ERRORS as error:
            raise AskAgain({"error": _words(error)}) from error
        except PrivateAddress as error:
            raise NotGiven("unavailable", error="a private address") from error
        except (httpcore.UnsupportedProtocol, ValueError) as error:  # h11 and httpcore on odd letters
            raise NotGiven("unavailable", error="not a web address") from error

    def _exchange(self, wanted: Wanted, most_bytes: int) -> bytes:
        url, headers = on_the_wire(wanted.url)
        headers |= {"User-Agent": self.visitor.header, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        if wanted.span:
            headers["Range"] = f"bytes={wanted.span[0]}-{wanted.span[1] - 1}"
        timeout = {"timeout": self.timeouts}
        with self._pool(url).stream("GET", url, headers=list(headers.items()), extensions=timeout) as answer:
            self.silence[wanted.host] = 0
            head = Head(answer.status, answer.headers)
            _judge_head(head, wanted, self.visitor, most_bytes)
            return self._body(answer.iter_stream(), most_bytes)

    def _body(self, pieces: Iterable[bytes], most_bytes: int) -> bytes:
        body = bytearray()
        for piece in pieces:
            self.bandwidth.take(len(piece))
            body += piece
            if len(body) > most_bytes:
                raise NotGiven("too_large", limit=most_bytes)
        return bytes(body)

    def _pool(self, url: str) -> httpcore.ConnectionPool:
        parts = urlsplit(url)
        proxy = self.proxies.get(parts.scheme.lower())
        return proxy if proxy and not urllib.request.proxy_bypass(parts.hostname or "") else self.direct


class Head:
    """Status and headers of an answer, by names in small letters; a header may come several times."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = [(name.decode("latin-1").lower(), value.decode("latin-1").strip()) for name, value in headers]

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for known, value in self.headers if known == name]

    def one(self, name: str) -> str:
        """The first value of a header, empty without one."""
        return next(iter(self.all(name)), "")


def _judge_address(url: str, allow_private: bool) -> str:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "") if parts.port != 0 else ""
    except ValueError:
        host = ""
    if not host or parts.scheme.lower() not in ("http", "https"):
        raise NotGiven("unavailable", error="not a web address")
    # Names are judged when they are looked up; a proxy looks them up itself and is left to its owner's rules.
    if not allow_private and is_address(host) and is_private(host):
        raise NotGiven("unavailable", error="a private address")
    return Wanted(url, None).host


def _judge_head(head: Head, wanted: Wanted, visitor: Visitor, most_bytes: int) -> None:
    if head.status in PASSING:
        raise AskAgain({"http": head.status}, _retry_after(head.one("retry-after")), head.status in WHOLE_HOST)
    if head.status in (200, 206, *MOVED) and says_no(head, visitor):
        raise NotGiven("opted_out")
    if head.status in MOVED and (place := head.one("location")):
        raise MovedTo(urljoin(wanted.url, place))
    if head.status != (206 if wanted.span else 200):
        raise NotGiven("unavailable", http=head.status)
    if wanted.span and not re.match(rf"bytes {wanted.span[0]}-", head.one("content-range")):
        raise NotGiven("unavailable", error="other bytes than were asked for")
    length = head.one("content-length")
    if length.isdigit() and int(length) > most_bytes:
        raise NotGiven("too_large", limit=most_bytes)


def says_no(head: Head, visitor: Visitor) -> bool:
    """Whether the owner of a picture has opted out of its use.

    X-Robots-Tag: `noai, noimageai` is meant for everybody, `NAME: noai` and what follows for whoever is called NAME,
    as https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag has it; TDM-Reservation: 1 is the
    W3C community's reservation of text and data mining.
    """
    if not visitor.opt_out:
        return False
    return head.one("tdm-reservation") == "1" or any(_forbids(line, visitor) for line in head.all("x-robots-tag"))


def _forbids(line: str, visitor: Visitor) -> bool:
    meant = True
    for piece in line.lower().split(","):
        name, colon, word = piece.rpartition(":")
        if colon:
            meant = name.strip() == visitor.user_agent.lower()
        if meant and word.strip() in visitor.opt_out:
            return True
    return False


def _retry_after(said: str) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    if said.isdigit():
        return float(said)
    date = email.utils.parsedate_tz(said) if said else None
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _words(error: Exception) -> str:
    """What happened, in words that are the same wherever and whenever it happens."""
    if isinstance(error, httpcore.ConnectTimeout | httpcore.ConnectError):
        return "no name server knows it" if "has no address" in str(error) else "no connection"
    if isinstance(error, httpcore.TimeoutException):
        return "too slow"
    return "the connection was cut" if isinstance(error, httpcore.NetworkError) else "not a whole answer"


def on_the_wire(url: str) -> tuple[str, dict[str, str]]:
    """The URL as it is sent, and the headers that say the rest of it.

    Letters beyond ASCII become %XX of their UTF-8, in names of hosts punycode; a user and password become a header.
    """
    parts = urlsplit(url)
    user, _, netloc = parts.netloc.rpartition("@")
    host, colon, port = netloc.partition(":")
    netloc = netloc if netloc.isascii() else host.encode("idna").decode() + colon + port
    path, query = quote(parts.path or "/", safe=_AS_IT_IS), quote(parts.query, safe=_AS_IT_IS + "?")
    headers = {"Host": netloc}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=netloc, path=path, query=query, fragment="").geturl(), headers
