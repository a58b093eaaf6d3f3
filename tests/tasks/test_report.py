from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from stylegan.films import FilmConfig, write_film
from tasks import embed
from tasks.distributions import Distribution, Limit
from tasks.report import (
    Command,
    Comparison,
    Event,
    Film,
    Measure,
    Number,
    Ranking,
    ReasonCount,
    ReportContent,
    Sheet,
    StageRow,
    Training,
    Verdict,
    duration,
    funnels,
    grouped,
    outcome,
    size,
    write_report,
)

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "</code></pre><script>alert('x')</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Every tag with its attributes, the text, and a complaint where tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def minimal(**changes: object) -> ReportContent:
    return ReportContent("toon", "name: toon\n", Verdict("done", "all is well"))._replace(**changes)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def ticks(num: int = 30) -> list[dict[str, object]]:
    return [
        {"kimg": i * 0.5, "step": i, "loss_G": 1 + i / 50, "loss_D": 1.4 - i / 90, "score_real": i / 40}
        | {"score_fake": -i / 30, "r1": 10 ** (i / 9 - 4), "seconds_per_kimg": 12.5}
        for i in range(num)
    ]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames: Iterator[np.ndarray] = (np.full((32, 48, 3), (20 * i, 40, 200), np.uint8) for i in range(8))
    return write_film(tmp_path_factory.mktemp("film") / "a walk #1.mp4", frames, (48, 32), 8, FilmConfig(crf=10))


def full(folder: Path, film: Path) -> ReportContent:
    sample = folder / "fakes-000001.000.png"
    cv2.imwrite(str(sample), picture(9))
    return minimal(
        subtitle="a subtitle",
        created="2026-01-02",
        hero=Sheet(picture(1), "hero caption", "32 faces"),
        numbers=(Number("600", "pictures"),),
        stages=(StageRow("crop", "done", 61, 600, 701, 48_200_000), StageRow("train", "failed", note="out of memory")),
        reasons=(
            ReasonCount("picture", "", 500),
            ReasonCount("picture", "no_face", 100, Sheet(picture(2), "four of them")),
            ReasonCount("face", "", 701),
        ),
        kept=Sheet(picture(3), "kept faces"),
        trainings=(
            Training(
                "first training",
                ticks(),
                Sheet(picture(4), "reals"),
                (Sheet(sample, "1 kimg"), Sheet(picture(5), "2 kimg")),
                (Event(5, "resumed"),),
            ),
        ),
        rankings=(
            Ranking(
                "ranking", Sheet(picture(6), "best"), Sheet(picture(7), "worst"), scores=[0.1 * i for i in range(40)]
            ),
        ),
        comparisons=(Comparison("distance", Measure(21.3, 20, 22), Measure(15, 14, 16)),),
        figures=(Sheet(picture(8), "truncation", note="psi falls"),),
        films=(Film(film, "random walk"),),
        environment=(("torch", "2.13.0"),),
        commands=(Command("stylegan run toon.yaml", "again"),),
    )


def test_full_page_shows_every_part_in_well_formed_html(tmp_path: Path, film: Path) -> None:
    page = read(write_report(tmp_path, full(tmp_path, film)))
    for words in (
        "hero caption",
        "600",
        "out of memory",
        "no face",
        "four of them",
        "kept faces",
        "first training",
        "2 kimg",
        "resumed",
        "best",
        "worst",
        "All 40 scores",
        "distance",
        "psi falls",
        "random walk",
        "2.13.0",
        "stylegan run toon.yaml",
        "name: toon",
        "1 min 01 s",
        "48.2 MB",
        "all is well",
    ):
        assert words in page.text, words
    assert [tag["id"] for tag in page.all("section")] == ["made", "faces", "training", "cleaning", "stages", "again"]


def test_measures_stand_with_the_level_that_they_are_of_and_the_audit_page_is_linked(tmp_path: Path) -> None:
    reasons = (ReasonCount("picture", "", 3), ReasonCount("face", "", 5), ReasonCount("face", "blurry", 2))
    limits = (Limit(15.0, "min_sharpness"),)
    one = Distribution("face", "Sharpness", "variance", np.arange(20.0, 70, 10), np.array([3.0, 4.0]), limits)
    page = read(write_report(tmp_path, minimal(reasons=reasons, distributions=(one,), audit="audit.html")))
    assert [chart["aria-label"] for chart in page.all("svg")] == ["Histogram of Sharpness"]
    assert page.text.index("5 kept") < page.text.index("min_sharpness 15")
    assert "audit.html" in {link["href"] for link in page.all("a")}
    assert read(write_report(tmp_path, minimal(reasons=reasons))).all("svg") == []


def test_every_picture_has_words_and_every_link_leads_somewhere(tmp_path: Path, film: Path) -> None:
    page = read(write_report(tmp_path, full(tmp_path, film)))
    assert len(page.all("img")) == 9
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("img")[0]["alt"] == "32 faces"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} <= {f"#{i}" for i in ids}
    assert all(tag.get("aria-label") for tag in page.all("svg") + page.all("video"))


def test_page_asks_for_nothing_outside_itself_and_runs_nothing(tmp_path: Path, film: Path) -> None:
    page = read(write_report(tmp_path, full(tmp_path, film)))
    assert not page.all("script")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    addresses = [
        a[name] or "" for _, a in page.tags for name in ("src", "href", "poster", "srcset", "action") if name in a
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    style = re.search(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert {"content": "default-src 'none'", "http-equiv": "Content-Security-Policy"}.items() <= {
        key: (value or "").split(";")[0] for key, value in page.all("meta")[2].items()
    }.items()


def test_words_of_users_are_escaped_everywhere(tmp_path: Path, film: Path) -> None:
    content = minimal(
        title=HOSTILE,
        manifest=HOSTILE,
        verdict=Verdict("failed", HOSTILE),
        subtitle=HOSTILE,
        manifest_name=HOSTILE,
        created=HOSTILE,
        hero=Sheet(picture(1), HOSTILE, HOSTILE, HOSTILE),
        numbers=(Number(HOSTILE, HOSTILE),),
        stages=(StageRow(HOSTILE, HOSTILE, note=HOSTILE),),
        reasons=(ReasonCount("picture", HOSTILE, 3, Sheet(picture(2), HOSTILE)),),
        films=(Film(film, HOSTILE, HOSTILE),),
        trainings=(
            Training(HOSTILE, [{**row, HOSTILE: 1} for row in ticks()], events=(Event(3, HOSTILE),), note=HOSTILE),
        ),
        rankings=(Ranking(HOSTILE, Sheet(picture(3), HOSTILE), None, HOSTILE),),
        comparisons=(Comparison(HOSTILE, Measure(1, 1, 1), Measure(2, 2, 2)),),
        comparison_note=HOSTILE,
        environment=((HOSTILE, HOSTILE),),
        commands=(Command(HOSTILE, HOSTILE),),
    )
    page = read(write_report(tmp_path, content))
    assert not page.all("script")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("alert('x')") >= 20


def test_control_marks_and_reversed_names_are_made_visible(tmp_path: Path) -> None:
    name = "photo\u202egpj.exe\x00\x1b[31m"
    text = write_report(tmp_path, minimal(subtitle=name)).read_text(encoding="utf-8")
    assert "photo\ufffdgpj.exe\ufffd\ufffd[31m" in text
    assert "\u202e" not in text


def test_file_names_that_are_no_utf8_do_not_break_the_page(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert r"caf\udce9.jpg" in write_report(tmp_path, minimal(subtitle=name)).read_text(encoding="utf-8")


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    page = read(write_report(tmp_path, minimal()))
    assert [tag["id"] for tag in page.all("section")] == ["again"]
    assert not page.all("img")
    assert "Click a picture" not in page.text


def test_same_content_gives_the_same_bytes_and_leaves_one_file(tmp_path: Path, film: Path) -> None:
    content = full(tmp_path, film)
    first = write_report(tmp_path / "page", content).read_bytes()
    assert write_report(tmp_path / "page", content).read_bytes() == first
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["report.html"]


def test_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    flat = np.zeros((64, 64, 3), np.uint8)
    flat[:, 32:] = (250, 128, 3)
    source = read(write_report(tmp_path, minimal(hero=Sheet(flat, "flat")))).all("img")[0]["src"] or ""
    assert source.startswith("data:image/png;base64,")
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[:, :, ::-1], flat)


def test_large_pictures_are_reduced_and_small_ones_shown_enlarged(tmp_path: Path) -> None:
    soft = cv2.resize(picture(1, 20, 60), (3000, 1000))
    content = minimal(figures=(Sheet(soft, "large"), Sheet(picture(2, 50, 100), "small")))
    large, small = read(write_report(tmp_path, content)).all("img")
    assert (large["width"], large["height"], large.get("class")) == ("1600", "533", None)
    assert (large["src"] or "").startswith("data:image/jpeg;base64,")
    assert (small["width"], small["height"], small["class"]) == ("500", "250", "pixels")


def test_metadata_of_a_picture_file_never_enters_the_page(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture(1))[1].tobytes()
    secret = b"GPS 48.8584 N 2.2945 E"
    path = tmp_path / "holiday.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xfe" + (len(secret) + 2).to_bytes(2, "big") + secret + jpeg[2:])
    source = read(write_report(tmp_path, minimal(hero=Sheet(path, "holiday")))).all("img")[0]["src"] or ""
    assert secret not in base64.b64decode(source.split(",")[1])


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image_is_refused(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        write_report(tmp_path, minimal(hero=Sheet(image, "x")))
    assert not list(tmp_path.iterdir())


def test_unreadable_picture_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        write_report(tmp_path, minimal(hero=Sheet(tmp_path / "broken.png", "x")))


def test_small_film_is_inside_the_page_with_its_last_frame_as_poster(tmp_path: Path, film: Path) -> None:
    video = read(write_report(tmp_path, minimal(films=(Film(film, "walk"),)))).all("video")[0]
    assert base64.b64decode((video["src"] or "").removeprefix("data:video/mp4;base64,")) == film.read_bytes()
    poster = np.frombuffer(base64.b64decode((video["poster"] or "").split(",")[1]), np.uint8)
    np.testing.assert_allclose(cv2.imdecode(poster, cv2.IMREAD_COLOR)[:, :, ::-1].mean((0, 1)), (140, 40, 200), atol=4)
    assert {"controls", "loop", "playsinline"} <= video.keys()


def test_large_film_is_linked_relative_to_the_page(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "FILM_LIMIT", 10)
    folder = film.parent / "reports" / "toon"
    video = read(write_report(folder, minimal(films=(Film(film, "walk"),)))).all("video")[0]
    assert video["src"] == "../../a%20walk%20%231.mp4"


def test_funnel_adds_up_and_orders_reasons_by_count() -> None:
    rows = [
        ReasonCount("face", "grey", 2),
        ReasonCount("picture", "", 7),
        ReasonCount("face", "", 5),
        ReasonCount("face", "blurry", 9),
    ]
    pictures, faces = funnels(rows)
    assert (pictures.level, pictures.total, pictures.kept) == ("picture", 7, 7)
    assert (faces.level, faces.total, faces.kept) == ("face", 16, 5)
    assert [row.reason for row in faces.reasons] == ["blurry", "grey"]


@pytest.mark.parametrize(
    ("before", "after", "better", "expected"),
    [
        (Measure(20, 19, 21), Measure(15, 14, 16), "lower", "better"),
        (Measure(20, 19, 21), Measure(25, 24, 26), "lower", "worse"),
        (Measure(20, 19, 21), Measure(25, 24, 26), "higher", "better"),
        (Measure(20, 17, 23), Measure(18, 16, 20), "lower", "no clear difference"),
    ],
)
def test_outcome_is_judged_by_the_intervals(before: Measure, after: Measure, better: str, expected: str) -> None:
    assert outcome(Comparison("x", before, after, "higher" if better == "higher" else "lower")) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (8040, "2 h 14 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_durations_use_the_two_units_that_matter(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(None, "–"), (812, "812 B"), (3_420_000, "3.42 MB"), (48_200, "48.2 kB"), (1.2e11, "120 GB")],
)
def test_sizes_have_three_digits(num_bytes: float | None, words: str) -> None:
    assert size(num_bytes) == words


def test_counts_are_grouped_by_thin_spaces() -> None:
    assert grouped(202599) == "202\u202f599"
