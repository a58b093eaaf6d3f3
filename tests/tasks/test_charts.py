from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.charts import Event, histogram, kept_and_dropped, nice_ticks, training_charts


def ticks(num: int = 30) -> list[dict[str, object]]:
    return [
        {"kimg": i * 0.5, "step": i, "loss_G": 1 + i / 50, "loss_D": 1.4 - i / 90, "score_real": i / 40}
        | {"score_fake": -i / 30, "r1": 10 ** (i / 9 - 4), "seconds_per_kimg": 12.5}
        for i in range(num)
    ]


def curve(svg: str, colour: int = 0) -> str:
    found = re.search(rf'<path class="curve c{colour}" d="([^"]*)"', svg)
    assert found is not None
    return found[1]


def test_charts_are_drawn_for_what_was_measured_only() -> None:
    drawn = training_charts(ticks(), [Event(5, "a <mark>")])
    assert [chart.title for chart in drawn] == ["Losses", "Discriminator's scores", "Gradient penalty R1", "Speed"]
    assert drawn[0].legend == (("generator", 0), ("discriminator", 1))
    for chart in drawn:
        root = ElementTree.fromstring(str(chart.svg))
        assert "a <mark>" in [element.text for element in root.iter("text")]


def test_a_rising_value_rises_in_the_chart_from_left_to_right() -> None:
    places = [
        tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", curve(training_charts(ticks())[0].svg))
    ]
    assert len(places) == 30
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(places))


def test_values_that_are_not_finite_break_the_line_and_missing_ones_do_not() -> None:
    rows = ticks(10)
    rows[4]["loss_G"] = math.nan
    for i in range(1, 10, 2):
        rows[i]["loss_D"] = None
    svg = training_charts(rows)[0].svg
    assert curve(svg, 0).count("M") == 2
    assert curve(svg, 1).count("M") == 1
    assert "nan" not in svg


def test_rows_out_of_order_and_nonsense_are_survived() -> None:
    rows = [
        {"kimg": 2, "loss_G": 1},
        {"kimg": 1, "loss_G": 2},
        {},
        {"kimg": "x", "loss_G": 1},
        {"kimg": math.inf, "loss_G": 3},
    ]
    assert len(re.findall("[ML]", curve(training_charts(rows)[0].svg))) == 2
    assert training_charts([]) == []
    assert training_charts([{"kimg": 1, "loss_G": math.nan}]) == []


def test_one_row_gives_a_chart_with_one_dot() -> None:
    svg = training_charts([{"kimg": 0.5, "loss_G": 0.0}])[0].svg
    ElementTree.fromstring(str(svg))
    assert svg.count('class="end') == 1


def test_long_trainings_are_thinned_and_keep_their_last_value() -> None:
    rows = [{"kimg": i, "loss_G": float(i)} for i in range(5003)]
    path = curve(training_charts(rows)[0].svg)
    assert len(re.findall("[ML]", path)) <= 400
    assert path.endswith(f"L506.0 {path.split()[-1]}")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-0.5, 0.5, [-0.4, -0.2, 0, 0.2, 0.4]), (3, 3.9, [3, 3.2, 3.4, 3.6, 3.8])],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_histogram_counts_every_finite_value_once() -> None:
    svg = str(histogram([*range(100), math.nan, math.inf], "scores"))
    counts = [int(title.text.split(": ")[1]) for title in ElementTree.fromstring(svg).iter("title") if title.text]
    assert sum(counts) == 100
    assert str(histogram([1.0], "one")) == ""
    ElementTree.fromstring(str(histogram([2.0, 2.0, 2.0], "equal")))


def bars(svg: str) -> list[tuple[float, int, int]]:
    """Where each bar begins, and how many are kept and dropped in it."""
    titles = re.findall(r"<title>(\S+) .*?: (\d+) kept, (\d+) dropped</title>", svg)
    return [(float(start), int(kept), int(dropped)) for start, kept, dropped in titles]


def test_stacked_bars_count_every_value_once_and_stand_on_one_another() -> None:
    kept, dropped = np.arange(20.0, 100), np.array([*range(30), 1e6])
    svg = str(kept_and_dropped("side", "px", kept, dropped, [(48.0, "min_face")]))
    ElementTree.fromstring(svg)
    found = bars(svg)
    assert (sum(kept for _, kept, _ in found), sum(dropped for *_, dropped in found)) == (80, 31)
    assert found[-1][2] == 1  # the outlier is in the last bar
    assert found[-1][0] < 100  # and does not stretch the axis
    heights = [float(height) for height in re.findall(r'class="bar(?: out)?".*?height="([\d.]+)"', svg)]
    assert min(heights) > 0


def test_a_limit_is_a_line_with_its_name_even_where_no_value_is_near() -> None:
    svg = str(
        kept_and_dropped(
            "yaw", "degrees", np.array([1.0, 2.0, 3.0]), np.array([]), [(25.0, "max_yaw"), (-25.0, "max_yaw")]
        )
    )
    texts = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert texts.count("max_yaw 25") == 2
    lines = [float(x) for x in re.findall(r'<line class="event" x1="([\d.]+)"', svg)]
    assert lines == [506.0, 52.0]


def test_values_that_are_all_equal_still_make_a_chart() -> None:
    assert bars(str(kept_and_dropped("border", "share", np.zeros(9), np.zeros(1), []))) == [(0.0, 9, 1)]
