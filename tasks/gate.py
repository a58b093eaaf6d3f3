"""The gate before cleaning: where the manifest asks for it, no face leaves for its rank before a person looked."""

from __future__ import annotations

import pandas as pd

from manifests.ledger import kept
from tasks.clean import config_of, decide
from tasks.errors import WaitsForReview
from tasks.job import Job, Progress
from tasks.review import decisions_of
from tasks.store import Record
from tasks.track import ask_person


def wait_for_review(job: Job, scores: Record) -> None:
    """Go on when every face that would leave for its place in the ranking has a word, or when none is asked for.

    The run of a deployment is suspended, and frees its worker, until a person resumes it: with `go_on` what has no word
    then leaves as ranked, without it nothing is cleaned. Elsewhere WaitsForReview ends the run, and where nobody
    answers in time Prefect does: the champion stays, and the same command goes on from here.
    """
    clean = job.manifest.clean
    if clean is None or not clean.wait or job.dry:
        return
    left = undecided(job, job.ledger(scores.buckets))
    if not left:
        return
    said = (
        f"{left:,} faces wait for a word before they leave: `stylegan review {job.path}`, then the same command again"
    )
    Progress("clean").say(said)
    if not ask_person(f"review-{scores.key}", said, round(clean.wait_hours * 3600)):
        raise WaitsForReview(f"{said}; or --set clean.wait=false")


def undecided(job: Job, ledger: pd.DataFrame) -> int:
    """How many faces cleaning would drop for their rank of which nobody has said anything."""
    after = decide(ledger, config_of(job))
    leaving = after[after["reason"].isin(["low_score", "high_score"]) & (after["kind"] == "face")]
    words = decisions_of(job, "tail", "detection", "group")
    return int((~leaving["id"].isin(list(words))).sum()) if len(kept(ledger, "face")) else 0
