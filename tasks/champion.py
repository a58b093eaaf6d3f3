"""The champion: the model that a manifest's users are given, promoted and rolled back by one atomic file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import IntegrityError, Refused
from tasks.job import Job, Planned
from tasks.store import Record, read_record, write_text
from tasks.train import checkpoint_of

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Champion(BaseModel):
    """One model that was promoted: the record that ended in it, and what it went on from."""

    model_config = _STRICT
    stage: str
    key: str
    sha256: str  # of its weights
    data: str  # output digest of the shards that it was chosen on
    base: str = ""  # weights that its run went on from; empty: it was trained from nothing
    promoted: str = ""  # UTC, ISO 8601
    why: str = ""


class Champions(BaseModel):
    """Every champion of a manifest, the oldest first, and those that were taken back."""

    model_config = _STRICT
    line: tuple[Champion, ...] = ()
    rolled_back: tuple[Champion, ...] = ()

    @property
    def present(self) -> Champion | None:
        """The one that counts."""
        return self.line[-1] if self.line else None


def champions_path(root: Path, name: str) -> Path:
    """Where a manifest's champions are written down."""
    return root / "champions" / f"{name}.json"


def read_champions(root: Path, name: str) -> Champions:
    """All of them; none where the file is not there."""
    path = champions_path(root, name)
    if not path.is_file():
        return Champions()
    try:
        return Champions.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise IntegrityError(f"{path} is no list of champions: put back a copy, or delete it ({error})") from error


def base_of(job: Job, faces: Record) -> Record | None:
    """The record of the model that a run on these shards goes on from; None: it trains from nothing.

    That is the champion, unless it was itself chosen on these very shards: then what it went on from, so that the
    same command on the same data finds everything done. A run that was not asked to continue has none.
    """
    if job.manifest.continue_from != "champion":
        return None
    known = read_champions(job.root, job.manifest.name)
    champion = known.present
    # Shards that are still to be made are not those that it was chosen on: these are there.
    if champion is not None and not faces.pending and champion.data == faces.output:
        champion = next((one for one in reversed(known.line) if one.sha256 == champion.base), None)
    return None if champion is None else _taken_up(job, champion)


def promote(job: Job, model: Record, faces: Record, base: Record | None) -> str:
    """Make the chosen model the champion, unless it is, was taken back, or nobody compared it with the present one.

    Returns what was done in a sentence, "" where nothing changes; the file is there whole before and after.
    """
    known = read_champions(job.root, job.manifest.name)
    sha256 = str(model.facts["sha256"])
    present = known.present
    if present is not None and present.sha256 == sha256:
        return ""
    if any(one.sha256 == sha256 for one in known.rolled_back):
        return f"the champion stays: {sha256[:12]} was rolled back before"
    if present is not None and (base is None or base.facts["sha256"] != present.sha256):
        return (
            f"the champion stays ({present.sha256[:12]}): this model was not measured against it. "
            f"`stylegan champion {job.path} --promote` makes it the champion, continue_from: champion compares them"
        )
    return _write_line(job, known, model, faces.output, str(base.facts["sha256"]) if base else "")


def promote_anyway(job: Job, model: Record, faces: Record) -> str:
    """Make this model the champion because a person says so."""
    known = read_champions(job.root, job.manifest.name)
    back = tuple(one for one in known.rolled_back if one.sha256 != model.facts["sha256"])
    return _write_line(job, known.model_copy(update={"rolled_back": back}), model, faces.output, "")


def roll_back(root: Path, name: str) -> Champions:
    """Take the present champion back: the one before it counts again. Refused where there is none before it."""
    known = read_champions(root, name)
    if len(known.line) < 2:
        raise Refused(f"{name} has {len(known.line)} champions: there is none before it to go back to")
    left = Champions(line=known.line[:-1], rolled_back=(*known.rolled_back, known.line[-1]))
    _write(root, name, left)
    return left


def _taken_up(job: Job, champion: Champion) -> Record:
    """The champion's record as the beginning of this job."""
    record = read_record(job.root, champion.stage, champion.key)
    if record is None or not (checkpoint_of(job, record) / "checkpoint.json").is_file():
        raise IntegrityError(
            f"the champion of {job.manifest.name} ({champion.sha256[:12]}) is gone from {job.root}: "
            f"`stylegan champion {job.path} --rollback` goes back to the one before it"
        )
    job.steps.append(record)
    job.reused.add(record.key)
    job.planned.append(Planned("champion", "there", f"promoted {champion.promoted[:19]}"))
    return record


def _write_line(job: Job, known: Champions, model: Record, data: str, base: str) -> str:
    champion = Champion(
        stage=model.stage,
        key=model.key,
        sha256=str(model.facts["sha256"]),
        data=data,
        base=base,
        promoted=datetime.now(UTC).isoformat(timespec="seconds"),
        why=str(model.facts.get("verdict", "the first model")),
    )
    _write(job.root, job.manifest.name, known.model_copy(update={"line": (*known.line, champion)}))
    return f"promoted to champion: {champion.sha256[:12]}"


def _write(root: Path, name: str, champions: Champions) -> None:
    path = champions_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, champions.model_dump_json(indent=1) + "\n")
