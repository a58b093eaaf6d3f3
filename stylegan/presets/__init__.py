"""Whole recipes by name: numbers of papers and of our own runs."""

from __future__ import annotations

from stylegan.config import TrainConfig
from stylegan.presets.own import OWN
from stylegan.presets.preset import Preset, Values, merged
from stylegan.presets.published import PUBLISHED

__all__ = ["PRESETS", "Preset", "describe", "recipe", "resolve"]

PRESETS: dict[str, Preset] = {**PUBLISHED, **OWN}


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}: choose one of {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def recipe(preset: str, asked: Values) -> Values:
    """The preset's values for the resolution asked for, with those asked for over them.

    One by one within `network`, `augment` and `growth` too; another architecture than the preset's takes nothing of the
    preset's network.
    """
    return merged(_preset(preset).at(asked.get("resolution")), asked)


def resolve(preset: str, overrides: Values | None = None) -> TrainConfig:
    """The preset's recipe with single values replaced."""
    return TrainConfig.model_validate(recipe(preset, dict(overrides or {})))


def describe(preset: str) -> str:
    """What a preset trains, where its numbers are from, what it costs and what came out, in four lines."""
    known = _preset(preset)
    return f"{preset}: {known.about}\nfrom    {known.source}\ncost    {known.cost}\nresult  {known.result}"
