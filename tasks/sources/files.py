"""Asking file systems: whole files and spans of them, with the errors of each system told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from manifests.sources.remote import Limits
from tasks.sources.answers import AskAgain, NotGiven
from tasks.sources.places import Place
from tasks.sources.polite import Bandwidth, Wanted
from tasks.sources.trouble import passing_errors

# What a file system is allowed in a second: it is the user's own, or says itself when it is too much.
_ANY_RATE = 1e6


def civil_limits(limits: Limits) -> Limits:
    """Limits for file systems: as many connections as there are, at any rate."""
    return limits.model_copy(update={"per_host": limits.connections, "requests_per_second": _ANY_RATE})


class FileSystems:
    """Gives bytes of files; `place_of` tells where what is wanted lies."""

    def __init__(self, place_of: Callable[[Wanted], Place], bandwidth: Bandwidth) -> None:
        self.place_of, self.bandwidth = place_of, bandwidth
        self.errors = passing_errors()

    def get(self, wanted: Wanted, most_bytes: int) -> bytes:
        """The file, or its span; fewer bytes where it ends before."""
        place = self.place_of(wanted)
        start, end = wanted.span or (None, None)
        try:
            data = bytes(place.files.cat_file(place.path, start=start, end=end))
        except FileNotFoundError as error:
            raise NotGiven("missing") from error
        except PermissionError as error:
            raise NotGiven("unavailable", error="no permission") from error
        except self.errors as error:
            raise AskAgain({"error": type(error).__name__}) from error
        self.bandwidth.take(len(data))
        if len(data) > most_bytes:
            raise NotGiven("too_large", limit=most_bytes)
        return data

    def leave(self, host: str, facts: dict[str, Any]) -> None:
        """Nothing to do: no file system asks for that."""
