from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from manifests.sources.remote import UrlsSource
from tasks.sources.found import Found
from tasks.sources.urls import find_by_urls

OK = b"HTTP/1.1 200 OK\r\n"
PIECES = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\n"
SHORT = b"Content-Length: 3\r\n\r\nabc"


def for_ever(data: bytes, seconds: float = 0.0) -> Callable[[socket.socket], None]:
    def send(caller: socket.socket) -> None:
        while True:
            caller.sendall(data)
            time.sleep(seconds)

    return send


def once(data: bytes) -> Callable[[socket.socket], None]:
    return lambda caller: caller.sendall(data)


ANSWERS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "headers without end": (for_ever(OK + b"X: " + b"y" * 10_000 + b"\r\n"), "not a whole answer"),
    "headers that drip": (for_ever(OK + b"X:", 0.02), "too slow"),
    "continue without end": (for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), "too slow"),
    "one piece of 16 EiB": (
        once(PIECES + b"ffffffffffffffff\r\nabc"),
        "not a whole answer",
    ),
    "pieces of no size": (once(PIECES + b"zz\r\n"), "not a whole answer"),
    "less than nothing": (once(OK + b"Content-Length: -5\r\n\r\nabc"), "not a whole answer"),
    "two lengths": (once(OK + b"Content-Length: 5\r\n" + SHORT), "not a whole answer"),
    "silence": (lambda caller: time.sleep(2), "too slow"),
    "nothing": (once(b""), "not a whole answer"),
    "no http": (once(b"just bytes\r\n\r\n"), "not a whole answer"),
    "tls": (once(b"\x16\x03\x01\x02\x00\x01\x00"), "not a whole answer"),
    "an odd place": (
        once(MOVED + b"Location: http://exa mple\t.com:99999/\r\n" + SHORT),
        "not a web address",
    ),
    "a broken place": (once(MOVED + b"Location: http://[\r\n" + SHORT), "not a web address"),
}


def listen(answer: Callable[[socket.socket], None]) -> socket.socket:
    """A server that says what it likes to whoever calls."""
    server = socket.create_server(("127.0.0.1", 0))

    def talk(caller: socket.socket) -> None:
        with suppress(OSError), caller:
            caller.recv(65536)
            answer(caller)

    def wait() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=wait, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Found]]:
    work: Path = tmp_path_factory.mktemp("hostile")
    servers = {name: listen(answer) for name, (answer, _) in ANSWERS.items()}
    servers["a picture"] = listen(once(OK + SHORT))
    rows = [{"id": name, "url": f"http://127.0.0.1:{it.getsockname()[1]}/"} for name, it in servers.items()]
    (work / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    limits = {"allow_private": True, "tries": 1, "total_seconds": 0.5, "connections": 32}
    config = UrlsSource(kind="urls", tables=(str(work / "list.jsonl"),), limits=limits)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield {file.origin: file for file in find_by_urls(config, work / "work", lambda done, total, unit: None)}
    for server in servers.values():
        server.close()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_speaks_no_http_costs_one_picture(found, name):
    file = found[name]
    assert (file.reason, file.about.facts["error"]) == ("unavailable", ANSWERS[name][1])


def test_the_picture_among_them_comes(found):
    assert found["a picture"].path.read_bytes() == b"abc"
