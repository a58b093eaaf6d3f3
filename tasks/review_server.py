"""The review page: one local process that shows doubtful faces and appends what a person says of them."""

from __future__ import annotations

import functools
import hmac
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict

from imaging.decode import Undecodable, decode
from manifests.review import About, Decision, Say, Words, append_decision, now, read_review, review_path
from tasks.examples import path_of
from tasks.job import Job
from tasks.review_queue import Question, questions
from tasks.shards import Span, read_span

PAGE = Path(__file__).with_name("review.html")
SIDE = 384  # px of a face on the page
KEPT_READY = 512  # faces kept in memory
MOST_FOUND = 60  # answers to a search
# The page may load nothing but from itself, and nobody may frame it.
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
HEADERS = {"Content-Security-Policy": POLICY + "; frame-ancestors 'none'", "Cache-Control": "no-store"}


class Said(BaseModel):
    """What the page sends: a word on a row of the ledger, and how many lines it has heard of."""

    model_config = ConfigDict(extra="forbid")
    id: str
    say: Say
    about: About
    since: int = 0


class Review:
    """The ledger, its questions and what has been said; threads may ask at the same time."""

    def __init__(
        self, ledger: pd.DataFrame, asked: list[Question], file: Path, shards: Path, path_of: Callable[[str], Path]
    ) -> None:
        self.rows: dict[str, dict[str, Any]] = _rows_by_id(ledger)
        self.asked, self.file, self.shards, self.path_of = asked, file, shards, path_of
        self.lock = threading.Lock()
        self.words, self.size = Words(read_review(file)), _size(file)
        self.face = functools.lru_cache(maxsize=KEPT_READY)(self._face)

    def say(self, said: Said) -> Decision:
        """Append a decision and return it; KeyError for an id that the ledger does not know."""
        row = self.rows[said.id]
        box = None if row["x0"] is None else (row["x0"], row["y0"], row["x1"], row["y1"])
        decision = Decision(id=said.id, say=said.say, about=said.about, box=box, at=now())
        with self.lock:
            append_decision(self.file, decision)
        return decision

    def told(self, since: int) -> dict[str, Any]:
        """What changed after so many lines, another reviewer's words included, and how many lines there are now."""
        with self.lock:
            if _size(self.file) != self.size:
                self.size = _size(self.file)
                self.words.hear(read_review(self.file, len(self.words.lines)))
            return {"changes": self.words.changes(since), "lines": len(self.words.lines)}

    def search(self, words: str) -> list[str]:
        """Ids of faces whose id begins with these letters or whose file name holds them."""
        found = (id for id, row in self.rows.items() if row["kind"] == "face" and _fits(row, words))
        return [id for id, _ in zip(found, range(MOST_FOUND), strict=False)]

    def _face(self, id: str) -> bytes:
        """A face as a JPEG: from its shard where it lies in one, else cut from its picture."""
        row = self.rows[id]
        image = self._from_shard(row) if row["shard"] else self._from_picture(row)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90)
        return out.getvalue()

    def _from_shard(self, row: dict[str, Any]) -> Image.Image:
        with (self.shards / row["shard"]).open("rb") as opened:
            return Image.fromarray(decode(read_span(opened, Span(row["offset"], row["length"]))).image)

    def _from_picture(self, row: dict[str, Any]) -> Image.Image:
        """The face with its surroundings, or the whole picture where there is none."""
        image = Image.fromarray(decode(self.path_of(row["picture"]).read_bytes()).image)
        if row["x0"] is not None:
            x0, y0, x1, y1 = (row[name] for name in ("x0", "y0", "x1", "y1"))
            half = max(x1 - x0, y1 - y0) * 3 // 4
            x, y = (x0 + x1) // 2, (y0 + y1) // 2
            image = image.crop(
                (max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half))
            )
        image.thumbnail((SIDE, SIDE))
        return image


def open_review(job: Job) -> Review:
    """The review of a job that got as far as its shards; ValueError where there is nothing to look at yet."""
    done = {record.stage: record for record in reversed(job.steps) if not record.pending}
    if not {"download", "shard"} <= done.keys():
        raise ValueError(f"{job.path} has no faces to look at yet: `stylegan run {job.path} --until shard` makes them")
    # Of the first ones: later stages are what cleaning made of them.
    ledger = job.ledger((done.get("rank") or done["shard"]).buckets)
    num_tail = max(50, round(2 * len(ledger) * (job.manifest.clean.drop_lowest if job.manifest.clean else 0)))
    asked = questions(ledger, job.manifest.crop, num_tail)
    return Review(ledger, asked, review_path(job.path), job.folder(done["shard"]), path_of(job, done["download"]))


def review_app(review: Review, token: str) -> FastAPI:
    """The web application; every request must carry the token and name this machine as its host."""

    def guard(request: Request, token_given: Annotated[str, Query(alias="token")] = "") -> None:
        if request.url.hostname not in ("127.0.0.1", "localhost") or not hmac.compare_digest(token_given, token):
            raise HTTPException(403, "open the address that `stylegan review` printed")

    # No documentation pages: they load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(guard)])

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)

    @app.get("/questions")
    def questions() -> JSONResponse:
        asked = [dict(zip(Question._fields, one, strict=True)) for one in review.asked]
        return JSONResponse({"questions": asked, "told": review.told(0), "file": review.file.name})

    @app.get("/row/{id}")
    def row(id: str) -> JSONResponse:
        return JSONResponse(_shown(_known(review, id)))

    @app.get("/face/{id}")
    def face(id: str) -> Response:
        _known(review, id)
        try:
            return Response(review.face(id), media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})
        except (OSError, Undecodable) as error:
            raise HTTPException(410, f"the picture is gone or does not decode: {error}") from error

    @app.get("/search")
    def search(q: str) -> JSONResponse:
        return JSONResponse(review.search(q))

    @app.post("/say")
    def say(said: Said) -> JSONResponse:
        _known(review, said.id)
        review.say(said)
        return JSONResponse(review.told(said.since))

    return app


def _known(review: Review, id: str) -> dict[str, Any]:
    row = review.rows.get(id)
    if row is None:
        raise HTTPException(404, f"the ledger has no row {id[:80]}")
    return row


def _rows_by_id(ledger: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Every row by its id, with whole numbers and None where there is nothing; no pictures in it."""
    narrow = ledger.drop(columns=["thumb", "landmarks", "quad"]).astype(object)
    rows = narrow.where(narrow.notna(), None).to_dict("records")
    return {row["id"]: {str(name): value for name, value in row.items()} for row in rows}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, "")}


def _fits(row: dict[str, Any], words: str) -> bool:
    return bool(words) and (row["id"].startswith(words) or words in row["origin"])


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
