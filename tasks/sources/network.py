"""The way to other machines: each name looked up once, none into our own network, no answer that lasts for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore

from tasks.sources.address import AddressBook, is_private


class PrivateAddress(Exception):  # noqa: N818  named for what happened
    """A name leads to this machine or its own network, where nobody's list has anything to look for."""


class Deadline(threading.local):
    """When the answer that this thread waits for must be there."""

    at = float("inf")

    def begin(self, seconds: float) -> None:
        """So long from now."""
        self.at = time.monotonic() + seconds

    def left(self, timeout: float | None) -> float | None:
        """The time-out, or what is left when that is less; httpcore.ReadTimeout when nothing is."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer took too long")
        return left if timeout is None else min(timeout, left)


class CheckedNetwork(httpcore.NetworkBackend):
    """Connections to the addresses that were judged: the name is not looked up again between judging and connecting."""

    def __init__(self, deadline: Deadline, allow_private: bool) -> None:
        self.deadline, self.allow_private = deadline, allow_private
        self.book = AddressBook()
        self.sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first of the host's addresses that answers."""
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = self.sockets.connect_tcp(address, port, self.deadline.left(timeout), local_address)
                return _Timed(stream, self.deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            addresses = self.book.of(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address: {error.strerror or error}") from error
        if not self.allow_private and any(map(is_private, addresses)):
            raise PrivateAddress(host)
        return addresses


class _Timed(httpcore.NetworkStream):
    """A stream whose every read and write ends by the thread's deadline, however slowly the bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self.stream, self.deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, self.deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, self.deadline.left(timeout))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self.stream.start_tls(ssl_context, server_hostname, self.deadline.left(timeout)), self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)
