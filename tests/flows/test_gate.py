"""The human gate: nothing leaves for its rank before a person looked, and the run says that it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.carry_out import carry_out, open_job, plan
from flows.retrain import retrain_and_export
from manifests.review import Decision, append_decision, review_path
from tasks.errors import WaitsForReview
from tasks.gate import undecided, wait_for_review
from tasks.job import Job
from tasks.store import Record
from tests.flows.conftest import Small

WAIT = ("clean.wait=true",)


@pytest.fixture
def words(small: Small) -> Iterator[Path]:
    path = review_path(small.manifest)
    yield path
    path.unlink(missing_ok=True)


def _ranked(small: Small) -> tuple[Job, Record]:
    job = plan(retrain_and_export, small.manifest)
    return open_job(small.manifest, WAIT), next(record for record in job.steps if record.stage == "rank")


def test_unattended_a_run_asks_nobody(small: Small) -> None:
    job, scores = _ranked(small)
    assert undecided(job, job.ledger(scores.buckets)) >= 1
    wait_for_review(open_job(small.manifest), scores)


def test_a_run_that_waits_ends_with_its_own_exit_code_and_says_what_to_do(small: Small) -> None:
    with pytest.raises(WaitsForReview, match=r"faces? waits? for a word .*stylegan review .*clean\.wait=false") as said:
        carry_out(retrain_and_export, small.manifest, WAIT)
    assert said.value.exit_code == 5


def test_once_each_face_has_a_word_the_run_goes_on(small: Small, words: Path) -> None:
    job, scores = _ranked(small)
    ledger = job.ledger(scores.buckets)
    ranked = ledger[(ledger["kind"] == "face") & (ledger["split"] == "train")].sort_values("rank")
    left = undecided(job, ledger)
    for number, face in enumerate(ranked["id"].head(left)):
        append_decision(words, Decision(id=face, say="keep" if number % 2 else "drop", about="tail"))
        assert undecided(job, ledger) == left - number - 1
    wait_for_review(job, scores)


def test_waiting_changes_no_digest(small: Small) -> None:
    planned = plan(retrain_and_export, small.manifest, WAIT).planned
    assert [step.title for step in planned if step.state == "run"] == []
