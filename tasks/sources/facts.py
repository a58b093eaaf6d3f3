"""What sources say of pictures as values that can be written down: JSON, UTF-8, finite, of a sane size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

LONGEST = 10_000  # characters of a text
DEEPEST = 4  # lists and objects inside each other


def clean_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that say something, as JSON values: no null, no empty text, no NaN, dates as clean_date writes them."""
    cleaned = {clean_text(str(name)): clean_value(value) for name, value in facts.items()}
    return {name: value for name, value in cleaned.items() if name and value not in (None, "", [], {})}


def clean_value(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it; None for what it cannot."""
    match value:
        case bool() | int():
            return value if abs(value) < 2**63 else None
        case float():
            return value if math.isfinite(value) else None
        case str():
            return clean_text(value)
        case datetime() | date():
            return clean_date(value.isoformat())
        case list() | tuple() if depth < DEEPEST:
            return [clean_value(item, depth + 1) for item in value]
        case dict() if depth < DEEPEST:
            return {clean_text(str(name)): clean_value(item, depth + 1) for name, item in value.items()}
    return None


def clean_text(text: Any) -> str:
    """The text without lone surrogates and nulls, and not longer than anybody reads."""
    return str(text)[:LONGEST].encode("utf-8", "replace").decode().replace("\0", "")


def clean_date(text: str) -> str:
    """A moment in UTC, 2018-01-18T08:21:23Z, so that texts compare as moments do; the text itself when it is none.

    A moment that names no zone is taken as UTC.
    """
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))
    except ValueError:
        return text
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def join_tags(tags: Iterable[str]) -> str:
    """Tags as the ledger has them: each once, sorted, a space between; spaces inside one become underscores."""
    return " ".join(sorted({"_".join(clean_text(tag).split()) for tag in tags} - {""}))
