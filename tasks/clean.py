"""clean: the lowest of the ranking, the highest, and a person's decisions become reasons. Nothing is deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import pandas as pd

from manifests.ledger import count_reasons, face_of, kept
from manifests.review import Decision
from manifests.schema import CleanConfig
from tasks.buckets import write_buckets
from tasks.job import Job
from tasks.review import BEFORE_TRAINING, decisions_of
from tasks.stage import Outcome, Place, stage
from tasks.store import Record

Rule = Callable[[pd.DataFrame, CleanConfig], pd.DataFrame]
DECIDES = {"drop_lowest", "drop_highest", "drop", "keep"}  # the rest of the section is about what follows


def _asked(job: Job) -> dict[str, object]:
    return config_of(job).model_dump(mode="json", include=DECIDES)


def config_of(job: Job) -> CleanConfig:
    """What the manifest asks for and what people decided on the review page."""
    assert job.manifest.clean is not None, "a flow that cleans has a clean section"
    return with_words(job.manifest.clean, decisions_of(job, "tail", *BEFORE_TRAINING))


def with_words(config: CleanConfig, words: Mapping[str, Decision]) -> CleanConfig:
    """The config with what people said: what they kept no score drops, what they dropped from a tail goes."""
    keep = {id for id, word in words.items() if word.say in ("keep", "keeper")}
    drop = {id for id, word in words.items() if word.say == "drop" and word.about == "tail"}
    named = {"keep": (*config.keep, *sorted(keep)), "drop": (*config.drop, *sorted(drop))}
    return config.model_copy(update=named)


@stage("clean", version=2, config=_asked)
def drop_by_score(at: Place, scores: Record) -> Outcome:
    """Give the tails of the ranking a reason; held-out faces stay, so that before and after are judged alike."""
    return _dropped(at, scores, decide)


@stage("control", version=1, config=lambda job: {**_asked(job), "seed": job.manifest.seed})
def drop_at_random(at: Place, scores: Record) -> Outcome:
    """Give as many training faces, chosen by nothing but the seed and their ids, the reason control."""
    seed = at.job.manifest.seed
    return _dropped(at, scores, lambda ledger, config: decide_at_random(ledger, config, seed))


def _dropped(at: Place, scores: Record, rule: Rule) -> Outcome:
    ledger = rule(at.job.ledger(scores.buckets), config_of(at.job))
    return Outcome(buckets=write_buckets(at, ledger), counts=count_reasons(ledger))


def decide(ledger: pd.DataFrame, config: CleanConfig) -> pd.DataFrame:
    """The ledger with the reasons low_score, high_score and review:drop; a person's word outranks the score.

    Faces are judged, and a variant leaves with its face; only a person drops it alone.
    """
    ledger = ledger.copy()
    train = _judged(ledger)
    ranked = train.sort_values(["rank", "id"])
    low, high = round(config.drop_lowest * len(ranked)), round(config.drop_highest * len(ranked))
    safe = _named(train, config.keep)
    ledger.loc[ranked.index[:low].difference(safe), "reason"] = "low_score"
    ledger.loc[ranked.index[len(ranked) - high :].difference(safe), "reason"] = "high_score"
    return _with_decisions(ledger, train, config)


def decide_at_random(ledger: pd.DataFrame, config: CleanConfig, seed: int) -> pd.DataFrame:
    """The ledger with as many faces dropped for the reason control as `decide` drops for their scores.

    What a person dropped or kept is so in both; which others leave is a function of the seed and their ids.
    """
    by_score = decide(ledger, config)["reason"]
    count = int(by_score.isin(["low_score", "high_score"]).sum())
    ledger = ledger.copy()
    train = _judged(ledger)
    free = train.drop(_named(train, config.keep).union(_named(train, config.drop)))
    draws = free["id"].map(lambda id: hashlib.sha256(f"{seed} control {id}".encode()).hexdigest())
    ledger.loc[draws.sort_values().index[:count], "reason"] = "control"
    return _with_decisions(ledger, train, config)


def _judged(ledger: pd.DataFrame) -> pd.DataFrame:
    return ledger[(ledger["kind"] == "face") & (ledger["reason"] == "") & (ledger["split"] == "train")]


def _with_decisions(ledger: pd.DataFrame, train: pd.DataFrame, config: CleanConfig) -> pd.DataFrame:
    ledger.loc[_named(train, config.drop), "reason"] = "review:drop"
    variants = kept(ledger, "variant")
    ledger.loc[variants.index, "reason"] = variants["id"].map(face_of).map(ledger.set_index("id")["reason"].to_dict())
    ledger.loc[_named(kept(ledger, "variant"), config.drop), "reason"] = "review:drop"
    return ledger


def _named(rows: pd.DataFrame, ids: tuple[str, ...]) -> pd.Index[int]:
    return rows.index[rows["id"].str.startswith(ids)] if ids else rows.index[:0]
