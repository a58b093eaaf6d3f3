"""How a question may end without what was asked for."""

# ruff: noqa: N818 - they are named for what happened
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.sources.address import shown


class NotGiven(Exception):
    """The picture does not come, and would not a minute later: a reason for the ledger and facts about it."""

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.reason, self.facts = reason, facts


class AskAgain(Exception):
    """The answer may be another one later; says after how many seconds if the server did."""

    def __init__(self, facts: Mapping[str, Any], seconds: float | None = None, whole_host: bool = False) -> None:
        super().__init__(str(facts))
        self.facts, self.seconds, self.whole_host = dict(facts), seconds, whole_host


class MovedTo(Exception):
    """It is elsewhere: whoever asks has to ask there, within that host's limits."""

    def __init__(self, url: str) -> None:
        super().__init__(shown(url))
        self.url = url
