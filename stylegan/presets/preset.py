"""What a preset is: values of a whole recipe, where they are from, what they cost and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stylegan.config import DEFAULT_ARCHITECTURE

Values = dict[str, Any]

PARTS = ("network", "augment", "growth")  # values within these are replaced one by one too


@dataclass(frozen=True)
class Preset:
    """A whole recipe by name."""

    about: str  # what it trains, in a line
    source: str  # the paper or page that the numbers are from
    cost: str  # expected, with its source
    result: str  # of a run that happened, with its source, or "not yet run"
    values: Values  # of TrainConfig; the rest are its defaults
    from_size: dict[int, Values] = field(default_factory=dict)  # px -> what differs from this resolution up

    def at(self, resolution: Any) -> Values:
        """The recipe's values for faces of so many px; None, or what is no number, is the recipe's own resolution."""
        px = resolution if isinstance(resolution, int) else self.values.get("resolution", 0)
        values = self.values
        for size in sorted(self.from_size):
            if size <= px:
                values = merged(values, self.from_size[size])
        return values


def merged(values: Values, over: Values) -> Values:
    """Values with others over them, one by one within PARTS too; another architecture takes nothing of a network."""
    both = {**values, **over}
    for part in PARTS:
        below, above = values.get(part), over.get(part)
        if isinstance(below, dict) and isinstance(above, dict):
            other = part == "network" and above.get("architecture", _architecture(below)) != _architecture(below)
            both[part] = above if other else {**below, **above}
    return both


def _architecture(network: Values) -> str:
    return str(network.get("architecture", DEFAULT_ARCHITECTURE))
