"""The tables of the documentation that the code knows: `python -m tests.stylegan.doc_tables` writes them anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from stylegan.architectures import build_networks
from stylegan.health import ALARMS
from stylegan.presets import PRESETS, resolve

ROOT = Path(__file__).resolve().parents[2]


def rows_of(rows: list[tuple[str, ...]]) -> str:
    """A table, the first row its head."""
    head, *body = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {head} |", "|" + "---|" * len(rows[0]), *(f"| {row} |" for row in body)]) + "\n"


def preset_table() -> str:
    """All presets."""
    rows = [(f"`{name}`", p.about, p.source, p.cost, p.result) for name, p in PRESETS.items()]
    return rows_of([("preset", "what it trains", "numbers from", "cost", "result"), *rows])


# An architecture's preset, without growth: the whole network.
SHOWN = {
    "stylegan2": "auto",
    "stylegan1": "config-a",
    "stylegan3-t": "stylegan3-t",
    "stylegan3-r": "stylegan3-r",
    "r3gan": "r3gan",
    "dcgan": "dcgan",
}


def architecture_row(name: str, preset: str) -> tuple[str, ...]:
    """Weights of the networks of a preset at 256 px, and arithmetic for one image."""
    config = resolve(preset, {"resolution": 256, "growth": None})
    assert config.network.architecture == name
    with torch.device("meta"), torch.no_grad():
        G, D = build_networks(config.network, config.resolution)
        images, made = counted(lambda: G(torch.empty(4, config.network.z_dim)))
        _, judged = counted(lambda: D(images))
    weights = [f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}" for network in (G, D)]
    return f"`{name}`", f"`{preset}`", *weights, f"{made / 4e9:.0f}", f"{judged / 4e9:.0f}"


def counted(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """What came of some work, and its multiplications and additions in convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        found = work()
    return found, counter.get_total_flops()


def architecture_table() -> str:
    """All architectures at 256 px."""
    head = ("architecture", "preset", "G, million weights", "D", "GFLOP to make an image", "to judge one")
    return rows_of([head, *(architecture_row(name, preset) for name, preset in SHOWN.items())])


def alarm_table() -> str:
    """All alarms."""
    rows = []
    for name, rule in ALARMS.items():
        meaning = (inspect.getdoc(rule.symptom) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")
        rows.append((f"`{name}`", meaning, str(rule.patience), rule.advice))
    return rows_of([("alarm", "what it means", "ticks", "advice"), *rows])


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "presets": ("docs/presets.md", preset_table),
    "architectures": ("docs/guide.md", architecture_table),
    "alarms": ("docs/guide.md", alarm_table),
}


def between(name: str) -> re.Pattern[str]:
    """What stands between the marks of a table."""
    return re.compile(rf"(?<=<!-- {name}: written by tests/stylegan/doc_tables.py -->\n).*?(?=<!-- end -->)", re.DOTALL)


def write_tables() -> None:
    """Write every table into its page."""
    for name, (page, table) in TABLES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        place = between(name).search(text)
        assert place, f"{page} has no place for the table of {name}"
        whole = f"{text[: place.start()]}\n{table()}\n{text[place.end() :]}"
        (ROOT / page).write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    write_tables()
