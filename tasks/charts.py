"""Charts for the report as inline SVG: training curves and histograms, readable without a script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34  # margins in px
MAX_POINTS = 400  # a line; more would only make the page heavy


class Series(NamedTuple):
    """One line of a chart: the key in a statistics row, and what a reader calls it."""

    key: str
    name: str


class Chart(NamedTuple):
    """One chart over kimg; a logarithmic one falls back to linear where values are not positive."""

    title: str
    series: tuple[Series, ...]
    note: str = ""
    logarithmic: bool = False


class Event(NamedTuple):
    """A mark in the training curves: a resume, the start of a retraining."""

    kimg: float
    label: str


Values = NDArray[np.float64]
Limits = Sequence[tuple[float, str]]  # where a line stands, and its name


class Drawn(NamedTuple):
    """A chart ready for the page: its SVG and its legend (name, index of colour)."""

    title: str
    note: str
    svg: Markup
    legend: tuple[tuple[str, int], ...]


CHARTS = (
    Chart(
        "Losses",
        (Series("loss_G", "generator"), Series("loss_D", "discriminator")),
        "Two opponents: neither falls for good. Flat is healthy; a discriminator near 0 has won, and learning ends.",
    ),
    Chart(
        "Discriminator's scores",
        (Series("score_real", "real"), Series("score_fake", "generated"), Series("score_held_out", "held-out real")),
        "Mean logits. The closer the lines, the harder it is to tell real from generated.",
    ),
    Chart(
        "Gradient penalty R1", (Series("r1", "R1"),), "Squared gradient of the discriminator at real pictures.", True
    ),
    Chart("Path length", (Series("path_length", "path length"),), "How far a picture moves for a step in W."),
    Chart("Speed", (Series("seconds_per_kimg", "seconds a kimg"),), "Lower is faster."),
)


def training_charts(rows: Sequence[Mapping[str, object]], events: Sequence[Event] = ()) -> list[Drawn]:
    """The CHARTS that the rows of a stats.jsonl have numbers for; rows without kimg and values not finite are gaps."""
    drawn = []
    for chart in CHARTS:
        lines = {i: _points(rows, series.key) for i, series in enumerate(chart.series)}
        lines = {i: points for i, points in lines.items() if any(y is not None for _, y in points)}
        if lines:
            legend = tuple((chart.series[i].name, i) for i in lines)
            drawn.append(Drawn(chart.title, chart.note, _curves(chart, lines, events), legend))
    return drawn


def histogram(values: Sequence[float], title: str, num_bins: int = 40) -> Markup:
    """Bars of how often values occur; empty where fewer than two are finite."""
    finite = [float(v) for v in values if math.isfinite(v)]
    if len(finite) < 2:
        return Markup("")
    low, high = min(finite), max(finite)
    high = high if high > low else low + 1
    bins = [0] * min(num_bins, max(5, round(math.sqrt(len(finite)))))
    for value in finite:
        bins[min(len(bins) - 1, int((value - low) / (high - low) * len(bins)))] += 1
    frame = _Frame(low, high, 0, max(bins), False)
    step, size = (WIDTH - LEFT - RIGHT) / len(bins), (high - low) / len(bins)
    bars = []
    for i, count in enumerate(bins):
        y = frame.y(count)
        bars.append(
            f'<rect class="bar" x="{LEFT + i * step + 0.5:.1f}" width="{max(step - 1, 0.5):.1f}" '
            f'y="{y:.1f}" height="{frame.y(0) - y:.1f}">'
            f"<title>{low + size * i:.3g} to {low + size * (i + 1):.3g}: {count}</title></rect>"
        )
    return _svg(title, _axes(frame, "score") + "".join(bars))


def kept_and_dropped(title: str, unit: str, kept: Values, dropped: Values, limits: Limits) -> Markup:
    """Stacked bars of how often values occur, those of kept rows below; a dashed line at each limit.

    The few values beyond the 99th percentile stand in the last bar, so that they do not flatten the others.
    """
    both, lines = np.concatenate([kept, dropped]), [value for value, _ in limits]
    low = float(min(both.min(), *lines, both.max()))
    high = float(max(np.quantile(both, 0.99, method="higher"), *lines, low))
    num_bins = min(30, max(5, round(math.sqrt(len(both)))))
    edges = np.linspace(low, high if high > low else low + 1, num_bins + 1)
    counts = [np.histogram(np.minimum(values, edges[-1]), edges)[0].tolist() for values in (kept, dropped)]
    most = max(map(sum, zip(*counts, strict=True)))
    # The names of limits stand above the bars.
    frame = _Frame(low, float(edges[-1]), 0, most * (1.15 if limits else 1), False)
    bars = [_stack(frame, i, num_bins, pair) for i, pair in enumerate(zip(*counts, strict=True)) if any(pair)]
    marks = [_event(frame, Event(value, f"{name} {abs(value):g}")) for value, name in limits]
    return _svg(f"Histogram of {title}", _axes(frame, unit) + "".join(bars + marks))


def _stack(frame: _Frame, place: int, num_bins: int, counts: tuple[int, int]) -> str:
    """One bar of two parts that says its counts when pointed at."""
    step, size = (WIDTH - LEFT - RIGHT) / num_bins, (frame.x_high - frame.x_low) / num_bins
    start = frame.x_low + size * place
    words = "and more" if place == num_bins - 1 else f"to {start + size:.3g}"
    rects = [
        f'<rect class="{kind}" x="{LEFT + place * step + 0.5:.1f}" width="{step - 1:.1f}" '
        f'y="{frame.y(top):.1f}" height="{frame.y(base) - frame.y(top):.1f}"/>'
        for base, top, kind in ((0, counts[0], "bar"), (counts[0], sum(counts), "bar out"))
        if top > base
    ]
    return f"<g><title>{start:.3g} {words}: {counts[0]} kept, {counts[1]} dropped</title>{''.join(rects)}</g>"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten) within low and high."""
    step = _round_up((high - low) / count)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.999)


class _Frame(NamedTuple):
    """From values to places in the chart."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    logarithmic: bool

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / ((self.x_high - self.x_low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_low, self.y_high
        if self.logarithmic:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    def y_ticks(self) -> list[float]:
        if not self.logarithmic:
            return nice_ticks(self.y_low, self.y_high)
        powers = range(math.floor(math.log10(self.y_low)), math.ceil(math.log10(self.y_high)) + 1)
        steps = (1,) if len(powers) > 4 else (1, 3)
        return [m * 10.0**p for p in powers for m in steps if self.y_low <= m * 10.0**p <= self.y_high]


def _points(rows: Sequence[Mapping[str, object]], key: str) -> list[tuple[float, float | None]]:
    """(kimg, value) by kimg, thinned to MAX_POINTS with the last one kept; None: a value that is not finite.

    Rows without the key are passed over: a lazy penalty is not measured at every tick.
    """
    points = []
    for row in rows:
        kimg = _number(row.get("kimg"))
        if kimg is not None and isinstance(row.get(key), int | float):
            points.append((kimg, _number(row[key])))
    points.sort(key=lambda point: point[0])
    stride = -(-len(points) // MAX_POINTS) if points else 1
    return points[::-1][::stride][::-1]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _curves(chart: Chart, lines: dict[int, list[tuple[float, float | None]]], events: Sequence[Event]) -> Markup:
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points if y is not None]
    frame = _frame(xs, ys, chart.logarithmic)
    marks = "".join(_event(frame, event) for event in events if frame.x_low <= event.kimg <= frame.x_high)
    drawn = "".join(_line(frame, points, i, chart.series[i].name) for i, points in lines.items())
    return _svg(f"{chart.title} over kimg", _axes(frame, "kimg") + marks + drawn)


def _frame(xs: Sequence[float], ys: Sequence[float], logarithmic: bool) -> _Frame:
    low, high = min(ys), max(ys)
    logarithmic = logarithmic and low > 0 and high / low > 30
    if logarithmic:
        low, high = low / 1.2, high * 1.2
    else:
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1
        low, high = (0.0 if 0 <= low <= (high - low) * 0.6 else low - room), high + room
    return _Frame(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, low, high, logarithmic)


def _axes(frame: _Frame, unit: str) -> str:
    parts = []
    for value in frame.y_ticks():
        y = frame.y(value)
        kind = "zero" if value == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_tick(value)}</text>')
    base = HEIGHT - BOTTOM
    for value in nice_ticks(frame.x_low, frame.x_high):
        x = frame.x(value)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 17}" text-anchor="middle">{_tick(value)}</text>')
    parts.append(f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(unit)}</text>')
    return "".join(parts)


def _tick(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}".replace("-", "\N{MINUS SIGN}")


def _event(frame: _Frame, event: Event) -> str:
    x = frame.x(event.kimg)
    anchor, shift = ("end", -4) if x > WIDTH / 2 else ("start", 4)
    return (
        f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="event" x="{x + shift:.1f}" y="{TOP + 9}" text-anchor="{anchor}">{escape(event.label)}</text>'
    )


def _line(frame: _Frame, points: Sequence[tuple[float, float | None]], colour: int, name: str) -> str:
    """The line, broken at gaps, and invisible discs that say their value when pointed at."""
    path, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        dot = "l0 0" if pen == "M" else ""  # a value between two gaps is seen by its round cap
        path.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}{dot}")
        pen = "L"
    known = [(x, y) for x, y in points if y is not None]
    discs = [
        f'<circle class="hit c{colour}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="5">'
        f"<title>{escape(name)} {y:.4g} at {x:.4g} kimg</title></circle>"
        for x, y in known[:: -(-len(known) // 120)]
    ]
    x, y = known[-1]
    end = f'<circle class="end c{colour}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3"/>'
    return f'<path class="curve c{colour}" d="{"".join(path)}"/>{end}{"".join(discs)}'


def _svg(title: str, body: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
