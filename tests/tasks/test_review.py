"""What people decide: read with care, replayed exactly, found again after another crop."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from imaging.crop import CropConfig
from manifests.ledger import ledger_of
from manifests.review import Decision, append_decision, read_review, review_path, standing
from manifests.schema import CleanConfig
from tasks.clean import with_words
from tasks.review import decided
from tasks.review_queue import questions


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _face(name: str, **facts: Any) -> dict[str, Any]:
    square = {"cut_x0": 0, "cut_y0": 0, "cut_x1": 100, "cut_y1": 100}
    box = {"x0": 10, "y0": 10, "x1": 90, "y1": 90}
    row = {"id": f"{_id(name)}_000", "picture": _id(name), "kind": "face", "reason": "", "sharpness": 100.0}
    return {**row, "confidence": 5.0, **box, **square, **facts}


def _word(name: str, say: str, **facts: Any) -> Decision:
    return Decision.model_validate({"id": f"{_id(name)}_000", "say": say, **facts})


def _after(rows: list[dict[str, Any]], *words: Decision) -> dict[str, str]:
    table, strangers = decided(ledger_of(rows), standing(words))
    assert strangers == []
    return dict(zip(table["id"].str[:64], table["reason"], strict=True))


def test_the_last_word_counts_and_undo_takes_one_back() -> None:
    words = [_word("a", "drop"), _word("a", "keep"), _word("b", "drop"), _word("b", "undo"), _word("a", "undo")]
    assert {id: one.say for id, one in standing(words).items()} == {f"{_id('a')}_000": "drop"}
    assert standing([_word("a", "undo")]) == {}


def test_a_dropped_face_leaves_and_a_pardoned_one_stays() -> None:
    rows = [_face("a"), _face("b", reason="blurry"), _face("c")]
    reasons = _after(rows, _word("a", "drop"), _word("b", "keep"))
    assert reasons == {_id("a"): "review:drop", _id("b"): "", _id("c"): ""}


def test_what_cannot_be_cut_is_pardoned_by_nobody() -> None:
    rows = [_face("a", reason="cut_off", cut_x0=None, cut_y0=None, cut_x1=None, cut_y1=None)]
    assert _after(rows, _word("a", "keep")) == {_id("a"): "cut_off"}


def test_a_dropped_picture_takes_its_faces_along() -> None:
    picture = {"id": _id("a"), "picture": _id("a"), "kind": "picture", "reason": ""}
    table, _ = decided(ledger_of([picture, _face("a"), _face("b")]), standing([Decision(id=_id("a"), say="drop")]))
    assert table["reason"].tolist() == [{_id("a"): "review:drop"}.get(id[:64], "") for id in table["id"]]


def test_another_keeper_takes_its_group_over() -> None:
    group = {"group": f"{_id('a')}_000", "keeper": f"{_id('a')}_000"}
    rows = [_face("a", **group), *(_face(n, **group, reason=f"duplicate_of:{_id('a')}_000") for n in "bc")]
    rows.append(_face("d", **group, reason="blurry"))
    reasons = _after(rows, _word("b", "keeper", about="group"))
    theirs = f"duplicate_of:{_id('b')}_000"
    assert reasons == {_id("a"): theirs, _id("b"): "", _id("c"): theirs, _id("d"): "blurry"}


def test_a_picture_that_takes_over_brings_its_faces_and_the_other_loses_its_own() -> None:
    group = {"group": _id("a"), "keeper": _id("a")}
    theirs = f"duplicate_of:{_id('a')}"
    pictures = [
        {"id": _id(name), "picture": _id(name), "kind": "picture", "reason": reason, **group}
        for name, reason in (("a", ""), ("b", theirs))
    ]
    faces = [_face("a"), _face("b", reason=theirs), {**_face("b", reason="blurry"), "id": f"{_id('b')}_001"}]
    word = Decision(id=_id("b"), say="keeper", about="group")
    table, _ = decided(ledger_of([*pictures, *faces]), standing([word]))
    reasons = dict(zip(table["id"], table["reason"], strict=True))
    mine = f"duplicate_of:{_id('b')}"
    assert reasons == {
        _id("a"): mine,
        f"{_id('a')}_000": mine,
        _id("b"): "",
        f"{_id('b')}_000": "",
        f"{_id('b')}_001": "blurry",
    }
    assert (table[table["kind"] == "picture"]["keeper"] == _id("b")).all()


def test_a_face_with_another_number_is_found_by_its_box() -> None:
    now = {**_face("a"), "id": f"{_id('a')}_001", "x0": 12, "y0": 9}
    other = {**_face("a"), "x0": 300, "x1": 380}
    table, strangers = decided(ledger_of([other, now]), standing([_word("a", "drop", box=(10, 10, 90, 90))]))
    assert strangers == []
    assert dict(zip(table["id"].str[-3:], table["reason"], strict=True)) == {"000": "", "001": "review:drop"}


def test_a_face_that_is_nowhere_is_a_stranger_and_changes_nothing() -> None:
    moved = {**_face("a"), "x0": 500, "x1": 600}
    words = standing([_word("a", "drop", box=(10, 10, 90, 90)), _word("z", "drop")])
    table, strangers = decided(ledger_of([moved]), words)
    assert strangers == [f"{_id('a')}_000", f"{_id('z')}_000"]
    assert table["reason"].tolist() == [""]


def test_words_on_the_tails_are_for_cleaning() -> None:
    words = standing([_word("a", "drop", about="tail"), _word("b", "keep", about="tail"), _word("c", "drop")])
    config = with_words(CleanConfig(keep=("00",)), words)
    assert config.drop == (f"{_id('a')}_000",)
    assert config.keep == ("00", f"{_id('b')}_000")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "12", "say": "drop"}', "id: String should match pattern"),
        ('{"id": "' + "0" * 64 + '", "say": "maybe"}', "say: Input should be"),
        ('{"id": "' + "0" * 64 + '", "say": "drop", "mood": 1}', "mood: Extra inputs"),
        ("{", "Invalid JSON"),
    ],
)
def test_a_broken_line_is_refused_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = review_path(tmp_path / "faces.yaml")
    append_decision(path, _word("a", "drop"))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"faces\.review\.jsonl, line 2 is no decision \({said}"):
        read_review(path)


def test_two_reviewers_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "faces.review.jsonl"

    def review(who: str) -> None:
        for number in range(50):
            append_decision(path, Decision(id=_id(f"{who}{number}"), say="drop", by=who))

    threads = [threading.Thread(target=review, args=(who,)) for who in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(standing(read_review(path))) == 100


def _doubtful() -> pd.DataFrame:
    ranked = [_face(f"r{i}", rank=i, score=float(i), confidence=9.0 + i) for i in range(40)]
    group = {"group": f"{_id('g')}_000", "keeper": f"{_id('h')}_000"}
    twins = [_face("h", **group), _face("g", **group, reason=f"duplicate_of:{_id('h')}_000")]
    small = [_face("s", x1=70, y1=70, reason="face_too_small"), _face("t", x1=20, y1=20, reason="face_too_small")]
    return ledger_of([*ranked, *twins, *small, _face("b", sharpness=16.0)])


def test_doubtful_faces_are_asked_about_and_clear_ones_are_not() -> None:
    asked = questions(_doubtful(), CropConfig(min_face=64), num_tail=3)
    named = {kind: [one.ids[0] for one in asked if one.kind == kind] for kind in ("lowest", "highest", "borderline")}
    assert named["lowest"] == [f"{_id(f'r{i}')}_000" for i in (0, 1, 2)]
    assert named["highest"] == [f"{_id(f'r{i}')}_000" for i in (39, 38, 37)]
    assert {f"{_id('s')}_000", f"{_id('b')}_000"} <= set(named["borderline"])
    assert f"{_id('t')}_000" not in named["borderline"]


def test_a_group_is_one_question_with_its_keeper_first() -> None:
    (group,) = [one for one in questions(_doubtful(), CropConfig(min_face=64), 3) if one.kind == "group"]
    assert group.ids == (f"{_id('h')}_000", f"{_id('g')}_000")
    assert group.suggestion == group.ids[0]


def test_kinds_come_in_turn() -> None:
    kinds = [one.kind for one in questions(_doubtful(), CropConfig(min_face=64), 3)]
    assert kinds[:4] == ["lowest", "group", "borderline", "highest"]


def test_nothing_doubtful_is_no_question() -> None:
    assert questions(ledger_of([]), CropConfig(), 10) == []
