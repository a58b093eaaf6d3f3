from __future__ import annotations

import json
from pathlib import Path

import pytest

from stylegan.events import FILE, REQUEST, Event, Events, ask, learning_rates_at, main, read_events, read_request

RATES = (0.002, 0.003)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "job.json").write_text("{}")
    return tmp_path


def lr(step: int, G: float | None = None, D: float | None = None) -> Event:
    return Event(kind="lr", step=step, kimg=step * 0.008, lr_G=G, lr_D=D)


def test_a_learning_rate_holds_from_its_event_on_until_the_next() -> None:
    events = [lr(10, G=0.001), lr(20, D=0.0005), lr(30, G=0.0001, D=0.0002)]
    rates = [learning_rates_at(RATES, events, step) for step in (0, 9, 10, 19, 20, 29, 30, 1000)]
    assert rates == [
        (0.002, 0.003),
        (0.002, 0.003),
        (0.001, 0.003),
        (0.001, 0.003),
        (0.001, 0.0005),
        (0.001, 0.0005),
        (0.0001, 0.0002),
        (0.0001, 0.0002),
    ]


def test_rates_that_no_event_has_set_follow_the_config() -> None:
    assert learning_rates_at((0.1, 0.2), [lr(5, D=0.01)], 7) == (0.1, 0.01)


def test_a_request_becomes_an_event_of_the_step_at_which_it_is_taken(run: Path) -> None:
    events = Events(run, 0)
    assert events.take_request(3, 0.024) is None
    assert main([str(run), "--lr-G", "0.001"]) == 0
    event = events.take_request(4, 0.032)
    assert event is not None
    assert (event.kind, event.step, event.lr_G, event.lr_D, event.says) == ("lr", 4, 0.001, None, "lr_G = 0.001")
    assert not (run / REQUEST).exists()
    assert events.take_request(5, 0.04) is None
    assert [events.learning_rates(RATES, step) for step in (3, 4)] == [(0.002, 0.003), (0.001, 0.003)]


def test_a_training_that_is_back_before_a_change_comes_to_it_again_at_the_same_step(run: Path) -> None:
    first = Events(run, 0)
    ask(run, lr_D=0.0001)
    first.take_request(50, 0.4)
    resumed = Events(run, 40)  # killed at step 60, its checkpoint is of step 40
    assert [resumed.learning_rates(RATES, s).D for s in (40, 49, 50, 60)] == [0.003, 0.003, 0.0001, 0.0001]


def test_a_wish_made_while_steps_are_repeated_does_not_lose_against_an_older_one(run: Path) -> None:
    first = Events(run, 0)
    ask(run, lr_D=0.0001)
    first.take_request(50, 0.4)
    resumed = Events(run, 40)
    ask(run, lr_D=0.00001)
    resumed.take_request(42, 0.336)
    assert [resumed.learning_rates(RATES, s).D for s in (42, 49, 50, 51)] == [0.003, 0.003, 0.00001, 0.00001]


def test_alarms_and_phases_that_come_again_are_dropped_and_other_events_are_kept(run: Path) -> None:
    events = Events(run, 0)
    for kind, step in (("alarm", 10), ("phase", 20), ("lr", 30), ("resume", 35), ("alarm", 40), ("phase", 40)):
        events.add(Event(kind=kind, step=step, kimg=0))
    Events(run, 30)
    assert [(e.kind, e.step) for e in read_events(run)] == [("alarm", 10), ("phase", 20), ("lr", 30), ("resume", 35)]


def test_a_kill_between_the_event_and_the_deletion_of_its_request_makes_no_second_event(run: Path) -> None:
    ask(run, lr_G=0.001)
    asked = (run / REQUEST).read_text()
    Events(run, 0).take_request(7, 0.056)
    (run / REQUEST).write_text(asked)  # as if it had never been deleted
    resumed = Events(run, 5)
    assert resumed.take_request(5, 0.04) is None
    assert not (run / REQUEST).exists()
    assert [e.step for e in read_events(run)] == [7]


def test_a_line_cut_short_by_a_kill_is_no_event(run: Path) -> None:
    Events(run, 0).add(lr(3, G=0.1))
    with (run / FILE).open("a") as file:
        file.write('{"kind": "lr", "step": 9')
    assert [e.step for e in Events(run, 5).events] == [3]
    assert (run / FILE).read_text().endswith("}\n")


def test_a_second_request_completes_the_first_that_was_not_taken(run: Path) -> None:
    ask(run, lr_G=0.001)
    ask(run, lr_D=0.002)
    ask(run, lr_G=0.003)
    request = read_request(run)
    assert request is not None
    assert (request.lr_G, request.lr_D) == (0.003, 0.002)


def test_an_event_line_says_no_more_than_it_has_to(run: Path) -> None:
    Events(run, 0).add(Event(kind="phase", step=37500, kimg=600.0, says="16 px"))
    assert json.loads((run / FILE).read_text()) == {"kind": "phase", "step": 37500, "kimg": 600.0, "says": "16 px"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is asked for"),
        (["--lr-G", "0"], "lr_G is 0.0: a learning rate is a number above 0"),
        (["--lr-D", "-0.1"], "lr_D is -0.1"),
        (["--lr-D", "nan"], "lr_D is nan"),
        (["--lr-D", "inf"], "lr_D is inf"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (run / REQUEST).exists()


def test_a_folder_that_is_no_run_or_is_done_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run / "elsewhere"), "--lr-G", "0.1"]) == 2
    assert "holds no job.json" in capsys.readouterr().err
    (run / "done.json").write_text("{}")
    assert main([str(run), "--lr-G", "0.1"]) == 2
    assert "is done" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "text"), [(FILE, '{"kind": "lr"}\n'), (REQUEST, '{"id": "x", "lr_G": "fast"}')])
def test_a_damaged_file_is_named(run: Path, name: str, text: str) -> None:
    (run / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        Events(run, 0).take_request(0, 0.0)
