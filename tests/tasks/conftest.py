"""`web`: a real http server on loopback that misbehaves on demand and counts what it sends."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Served:
    """What lies behind one path, how it misbehaves, and what happened to it."""

    data: bytes
    cut_after: list[int] = field(default_factory=list)  # a body's bytes after which the connection breaks, each once
    ranges: bool = True
    etag: str = '"first"'
    length: bool = True  # says Content-Length
    status: list[int] = field(default_factory=list)  # answered first, each once
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/zip"
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0


class Server:
    """Paths and their answers; `url` is where they are."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: dict[str, Served] = {}

    def serve(self, path: str, data: bytes, **switches: Any) -> Served:
        self.paths[f"/{path}"] = served = Served(data, **switches)
        return served


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server = Server(f"http://127.0.0.1:{listening.server_port}")
    listening.known = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served = self.server.known.paths.get(self.path.partition("?")[0])
        if served is None:
            self.send_error(404)
            return
        served.requests.append(dict(self.headers))
        if served.status:
            self._refuse(served)
        else:
            self._send(served)

    def _refuse(self, served: Served) -> None:
        self.send_response(served.status.pop(0))
        for name, value in served.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, served: Served) -> None:
        start = self._start(served)
        if start >= len(served.data) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(served.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = served.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", served.kind)
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            self.send_header(name, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(served.data) - 1}/{len(served.data)}")
        if served.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if served.cut_after:
            body = body[: served.cut_after.pop(0)]
        served.sent += len(body)
        with suppress(ConnectionError):  # a client may have seen enough
            self.wfile.write(body)
        self.close_connection = True

    def _start(self, served: Served) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", served.etag) == served.etag
        return int(wanted[1]) if wanted and served.ranges and fits else 0

    def log_message(self, format: str, *args: object) -> None:
        pass
