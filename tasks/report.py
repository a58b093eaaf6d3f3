"""The report: one HTML file that shows what a run did and made, to be read in any browser, without a network."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jinja2
from markupsafe import Markup

from tasks.charts import Event as Event
from tasks.charts import histogram, kept_and_dropped, training_charts
from tasks.distributions import Distribution
from tasks.embed import Embedder, film_poster, film_source
from tasks.embed import Picture as Picture
from tasks.store import write_file

# What a reader wants to know of a reason; one that is not here stands for itself.
MEANINGS = {
    "undecodable": "damaged, cut off, or no picture at all",
    "unreadable": "the file could not be opened",
    "empty": "a file without a byte",
    "picture_too_small": "smaller than the smallest face that is looked for",
    "no_face": "the detector found none",
    "face_too_small": "too few pixels to learn from",
    "cut_off": "the square around it does not fit into the picture",
    "monochrome": "almost one colour, nothing to see",
    "grey": "no colours, where colours are wanted",
    "blurry": "no detail",
    "bordered": "bars of one colour along the edges take much of it",
    "low_quality": "a JPEG compressed too hard",
    "not_frontal": "the face looks aside, or is tilted",
    "not_selected": "the manifest does not ask for it",
    "missing": "the source names it and does not have it",
    "unavailable": "it could not be fetched",
    "opted_out": "its owners do not want it to be used",
    "duplicate": "the same picture is there in better quality",
    "low_score": "the discriminator finds it least like the others",
    "high_score": "the discriminator finds it too easy",
    "review:drop": "a person said no",
}


class Sheet(NamedTuple):
    """A picture of the report. `alt` says what it shows to who cannot see it; empty: the caption does."""

    image: Picture
    caption: str
    alt: str = ""
    note: str = ""


class Verdict(NamedTuple):
    """How the run ended, in one line."""

    state: Literal["done", "waiting", "stopped", "failed"]
    line: str


class Number(NamedTuple):
    """A headline number, already formatted, and what it counts."""

    value: str
    label: str


class StageRow(NamedTuple):
    """What one stage did; None: does not apply. `state` is a word such as done, cached, failed, waiting."""

    name: str
    state: str
    seconds: float | None = None
    rows_in: int | None = None
    rows_kept: int | None = None
    num_bytes: int | None = None
    note: str = ""


class ReasonCount(NamedTuple):
    """How many rows of a level have a reason; an empty reason: kept."""

    level: str  # picture, face or variant
    reason: str
    num_rows: int
    examples: Sheet | None = None


class Training(NamedTuple):
    """One training: the parsed rows of its stats.jsonl, and its sample grids in the order of kimg."""

    name: str
    rows: Sequence[Mapping[str, object]]
    reals: Sheet | None = None
    fakes: tuple[Sheet, ...] = ()
    events: tuple[Event, ...] = ()
    note: str = ""


class Ranking(NamedTuple):
    """Both tails of the discriminator's scores, and all scores for the histogram."""

    title: str
    best: Sheet | None
    worst: Sheet | None
    note: str = ""
    scores: Sequence[float] = ()


class Measure(NamedTuple):
    """A number with its 95 % interval; without one, low and high are the value."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One metric of another model and of the cleaned one."""

    name: str
    before: Measure
    after: Measure
    better: Literal["lower", "higher"] = "lower"


class Film(NamedTuple):
    """An mp4 file."""

    path: Path
    caption: str
    alt: str = ""


class Command(NamedTuple):
    """A line to type, and why."""

    line: str
    note: str = ""


class ReportContent(NamedTuple):
    """All that the page shows; a part that is empty is left out."""

    title: str
    manifest: str
    verdict: Verdict
    subtitle: str = ""
    created: str = ""
    manifest_name: str = "manifest.yaml"
    hero: Sheet | None = None
    numbers: tuple[Number, ...] = ()
    stages: tuple[StageRow, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    audit: str = ""  # where the audit page lies, as seen from this one
    distributions: tuple[Distribution, ...] = ()
    kept: Sheet | None = None
    variants: Sheet | None = None
    trainings: tuple[Training, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    comparison_note: str = ""
    figures: tuple[Sheet, ...] = ()
    films: tuple[Film, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    commands: tuple[Command, ...] = ()


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write folder/report.html and return its path; the file appears whole.

    Pictures are inside it, films below 6 MB too; larger films are linked relative to the folder. Names and manifest
    text are escaped; the page forbids itself scripts and requests.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = render_report(folder, content)
    path = folder / "report.html"
    write_file(path, page.encode("utf-8", "backslashreplace"))  # file names may hold bytes that are no UTF-8
    return path


def templates() -> jinja2.Environment:
    """The pages of this folder, in which every text is escaped and no name may be unknown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "size": size, "grouped": grouped, "words": words}
    return environment


def render_report(folder: Path, content: ReportContent) -> str:
    """The page as text; `folder` is where it will lie."""
    environment = templates()
    environment.globals |= {
        "picture": Embedder(),
        "film": lambda film: film_source(folder, film.path),
        "poster": lambda film: film_poster(film.path),
        "meaning": lambda reason: MEANINGS.get(reason, ""),
        "charts": lambda training: training_charts(training.rows, training.events),
        "histogram": histogram,
        "stacked": lambda one: kept_and_dropped(one.title, one.unit, one.kept, one.dropped, one.limits),
        "funnels": funnels(content.reasons),
        "outcome": outcome,
        "longest": max((stage.seconds or 0 for stage in content.stages), default=0),
    }
    return environment.get_template("report.html.j2").render(content._asdict())


class Funnel(NamedTuple):
    """The reasons of one level: how many rows, how many kept, and the reasons by falling count."""

    level: str
    total: int
    kept: int
    reasons: tuple[ReasonCount, ...]


def funnels(reasons: Sequence[ReasonCount]) -> list[Funnel]:
    """One funnel a level that has rows: pictures, faces, variants."""
    found = []
    for level in ("picture", "face", "variant"):
        rows = [row for row in reasons if row.level == level]
        lost = sorted((row for row in rows if row.reason), key=lambda row: (-row.num_rows, row.reason))
        if rows:
            kept = sum(row.num_rows for row in rows if not row.reason)
            found.append(Funnel(level, sum(row.num_rows for row in rows), kept, tuple(lost)))
    return found


def outcome(row: Comparison) -> Literal["better", "worse", "no clear difference"]:
    """Whether cleaning helped, judged by the intervals: where they overlap the numbers do not say."""
    if row.before.low <= row.after.high and row.after.low <= row.before.high:
        return "no clear difference"
    return "better" if (row.after.value < row.before.value) == (row.better == "lower") else "worse"


def duration(seconds: float | None) -> str:
    """A time in the two units that matter: 0.3 s, 42 s, 3 min 05 s, 2 h 14 min, 3 d 4 h."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size_of, name, below, step in ((86400, "d", "h", 3600), (3600, "h", "min", 60), (60, "min", "s", 1)):
        if round(seconds) >= size_of:
            return f"{round(seconds) // size_of} {name} {round(seconds) % size_of // step:02d} {below}"
    return f"{seconds:.0f} s"


def size(num_bytes: float | None) -> str:
    """Bytes in decimal units with three digits: 812 B, 3.42 MB, 1.20 GB."""
    if num_bytes is None:
        return "\N{EN DASH}"
    for power, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= power:
            return (
                f"{num_bytes / power:.{2 if num_bytes < 10 * power else 1 if num_bytes < 100 * power else 0}f} {unit}"
            )
    return f"{num_bytes:.0f} B"


def grouped(number: int | None) -> str:
    """A count with thin spaces between thousands."""
    return "\N{EN DASH}" if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def words(name: str) -> str:
    """A reason as a reader says it: face_too_small -> face too small."""
    return name.replace("_", " ").replace(":", ": ")


def printable(value: object) -> object:
    """Text without control characters and without marks that reverse the reading direction; all else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
        else c
        for c in value
    )
