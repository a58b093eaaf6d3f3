"""The control arm: as many faces, chosen by nothing but the seed; and who is kept in the end."""

from __future__ import annotations

import hashlib

import pandas as pd
import pytest

from manifests.ledger import kept, ledger_of
from manifests.schema import CleanConfig
from tasks.clean import decide, decide_at_random
from tasks.evaluate import gain, interval, is_proven, verdict


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _scored(count: int = 100) -> pd.DataFrame:
    rows = [
        {
            "id": f"{_id(str(i))}_000",
            "picture": _id(str(i)),
            "kind": "face",
            "score": float(i),
            "rank": i + 1,
            "split": "train",
        }
        for i in range(count)
    ]
    held_out = {**rows[0], "id": f"{_id('h')}_000", "picture": _id("h"), "score": -99.0, "rank": 0, "split": "held_out"}
    return ledger_of([*rows, held_out])


def _dropped(ledger: pd.DataFrame, *reasons: str) -> set[str]:
    return set(ledger[ledger["reason"].isin(reasons)]["id"])


def test_the_control_loses_as_many_faces_as_the_cleaned_arm_and_no_held_out_one() -> None:
    config = CleanConfig(drop_lowest=0.1, drop_highest=0.05)
    by_score, at_random = decide(_scored(), config), decide_at_random(_scored(), config, seed=3)
    lost = _dropped(at_random, "control")
    assert len(lost) == len(_dropped(by_score, "low_score", "high_score")) == 15
    assert f"{_id('h')}_000" not in lost
    assert len(at_random) == len(by_score)


def test_which_faces_the_control_loses_is_unrelated_to_their_scores() -> None:
    config = CleanConfig(drop_lowest=0.2)
    by_score = _dropped(decide(_scored(1000), config), "low_score")
    at_random = _dropped(decide_at_random(_scored(1000), config, seed=0), "control")
    assert 20 < len(by_score & at_random) < 60  # 40 of 200 in the mean


def test_the_same_seed_drops_the_same_faces_in_any_order_and_another_seed_others() -> None:
    config, ledger = CleanConfig(drop_lowest=0.1), _scored()
    first = _dropped(decide_at_random(ledger, config, seed=1), "control")
    shuffled = ledger.sample(frac=1, random_state=5)
    assert _dropped(decide_at_random(shuffled, config, seed=1), "control") == first
    assert _dropped(decide_at_random(ledger, config, seed=2), "control") != first


def test_what_a_person_decided_is_so_in_both_arms() -> None:
    config = CleanConfig(drop_lowest=0.4, keep=(_id("1"),), drop=(_id("2"),))
    for ledger in (decide(_scored(), config), decide_at_random(_scored(), config, seed=0)):
        reasons = ledger.set_index("id")["reason"]
        assert reasons[f"{_id('1')}_000"] == ""
        assert reasons[f"{_id('2')}_000"] == "review:drop"
        # Of the 40 lowest one is kept and one is dropped by hand.
        assert len(kept(ledger, "face")) == 101 - 38 - 1


def test_an_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.value == 3.0
    assert found.high - found.value == pytest.approx(2.776445 * 1.5811388 / 5**0.5, rel=1e-6)
    assert interval([7.0]) == (7.0, 7.0, 7.0)


def test_gains_are_paired() -> None:
    other, cleaned = [10.0, 50.0, 30.0], [9.0, 49.0, 29.0]
    assert gain(other, cleaned) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("cleaned", "margin", "proven"),
    [
        ([9.0, 9.1, 8.9], 0.05, True),
        ([9.0, 9.1, 8.9], 0.2, False),  # surely lower, but by less than the margin
        ([12.0, 5.0, 10.0], 0.0, False),  # lower in the mean, but who knows
        ([10.0, 10.0, 10.0], 0.0, False),  # no gain at all
    ],
)
def test_a_gain_must_be_sure_and_as_large_as_the_margin(cleaned: list[float], margin: float, proven: bool) -> None:
    other = [10.0, 10.0, 10.0]
    assert is_proven(gain(other, cleaned), other, margin) is proven


def test_the_verdict_says_all_its_numbers_and_what_a_missing_control_means() -> None:
    repeats = {"first": [50.0, 51.0], "cleaned": [40.0, 41.0], "control": [45.0, 46.0]}
    gains = {arm: gain(repeats[arm], repeats["cleaned"]) for arm in ("first", "control")}
    said = verdict(True, "held_out", repeats, gains, 0.01)
    for words in ("cleaned and retrained model is kept", "held-out", "40.5", "50.5", "45.5", "2 repeats", "margin 1%"):
        assert words in said
    assert "no" not in said.split("margin")[1]
    alone = verdict(False, "train", repeats, {"first": gains["first"]}, 0.01)
    assert alone.startswith("The first model is kept")
    assert "without a control arm" in alone
