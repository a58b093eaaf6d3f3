"""The one door between the stages and Prefect: tasks and artifacts inside a flow run, nothing at all outside one.

Importing Prefect takes seconds and a stage must run without a server, so nothing here imports it before a flow run is
known to be around the caller.
"""

from __future__ import annotations

import base64
import functools
import logging
import mimetypes
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

# The packages whose log lines belong to the run; prefect.toml names the same ones in extra_loggers.
PACKAGES = ("flows", "tasks", "manifests", "imaging", "stylegan")
# Prefect's client tries again for up to a minute before it gives up: after a failure progress waits this long.
OUTAGE_SECONDS = 60.0


def in_flow_run() -> bool:
    """Whether a Prefect flow run is around the caller, found out without importing Prefect."""
    context = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None


def tracked(name: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, run as a Prefect task of that name inside a flow run and plainly anywhere else.

    Prefect only shows the state: nothing is cached, kept or tried again by it, because the stage's own record says
    what is done.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not in_flow_run():
            return function(*args, **kwargs)
        return _run_task(name, functools.partial(function, *args, **kwargs))

    return call


def _run_task(name: str, work: Callable[[], R]) -> R:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    # The arguments stay inside `work`: Prefect would walk through every one of them in search of futures.
    def stage() -> R:
        return work()

    _let_logs_through()
    run = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False, retries=0, log_prints=False)(
        stage
    )
    return run()


def _let_logs_through() -> None:
    # Prefect hangs its handlers on these loggers but leaves their level to the root's, which is WARNING.
    for package in PACKAGES:
        if logging.getLogger(package).level == logging.NOTSET:
            logging.getLogger(package).setLevel(logging.INFO)


def artifact_key(words: str) -> str:
    """The words as a key Prefect takes: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def publish_table(key: str, rows: Sequence[Mapping[str, Any]], description: str = "") -> bool:
    """Shows the rows as a table beside the run; False outside a flow run or when Prefect did not take it."""
    if not in_flow_run():
        return False
    from prefect.artifacts import create_table_artifact

    table = [dict(row) for row in rows]
    return _sent(lambda: create_table_artifact(table, artifact_key(key), description or None))


def publish_markdown(key: str, markdown: str, description: str = "") -> bool:
    """Shows the text beside the run; False outside a flow run or when Prefect did not take it."""
    if not in_flow_run():
        return False
    from prefect.artifacts import create_markdown_artifact

    return _sent(lambda: create_markdown_artifact(markdown, artifact_key(key), description or None))


def publish_link(key: str, target: str | Path, text: str = "", description: str = "") -> bool:
    """Shows a link to an address or to a file; False outside a flow run or when Prefect did not take it."""
    if not in_flow_run():
        return False
    from prefect.artifacts import create_link_artifact

    link = target.resolve().as_uri() if isinstance(target, Path) else target
    return _sent(lambda: create_link_artifact(link, text or None, artifact_key(key), description or None))


def publish_image(key: str, picture: Path, description: str = "") -> bool:
    """Shows a picture file beside the run; False outside a flow run or when Prefect did not take it.

    The file's bytes go into the artifact (a browser opens no file of another machine), so a few hundred kB is the size
    to keep to.
    """
    if not in_flow_run():
        return False
    from prefect.artifacts import create_image_artifact

    media_type = mimetypes.guess_type(picture.name)[0] or "image/png"
    address = f"data:{media_type};base64,{base64.b64encode(picture.read_bytes()).decode()}"
    return _sent(lambda: create_image_artifact(address, artifact_key(key), description or None))


def ask_person(key: str, question: str, seconds: int) -> bool:
    """Suspend the run of a deployment until a person resumes it, and return the answer; False where none can be asked.

    The process ends and the worker is free; once resumed the flow begins anew and comes by here again. A key asks once.
    """
    if not in_flow_run():
        return False
    from prefect import runtime
    from prefect.flow_runs import suspend_flow_run
    from prefect.input import RunInput

    if not runtime.deployment.id:
        return False

    class Reviewed(RunInput):
        go_on: bool = True

    asked = Reviewed.with_initial_data(description=question, go_on=True)
    return bool(suspend_flow_run(wait_for_input=asked, timeout=seconds, key=artifact_key(key)).go_on)


class Progress:
    """A progress bar beside the run, moved at most once every few seconds; it does nothing outside a flow run."""

    def __init__(
        self, key: str, description: str = "", every_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.key = artifact_key(key)
        self.description = description
        self.every_seconds = every_seconds
        self.clock = clock
        self.artifact: Any = None
        self.next_time = -float("inf")

    def show(self, percent: float, description: str = "") -> bool:
        """Moves the bar to a percentage of 0 to 100; False when it was left alone. The end is never held back."""
        if not in_flow_run() or (self.clock() < self.next_time and percent < 100):
            return False
        sent = _sent(lambda: self._move(min(max(percent, 0.0), 100.0), description or self.description))
        self.next_time = self.clock() + (self.every_seconds if sent else OUTAGE_SECONDS)
        return sent

    def _move(self, percent: float, description: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self.artifact is None:
            self.artifact = create_progress_artifact(percent, self.key, description or None)
        else:
            update_progress_artifact(self.artifact, percent, description or None)


def _sent(send: Callable[[], object]) -> bool:
    with _outage_is_no_failure() as outcome:
        send()
    return not outcome


@contextmanager
def _outage_is_no_failure() -> Iterator[list[Exception]]:
    # HTTPError: no answer after all the client's tries, or one of refusal (Prefect's status error is a kind of it).
    # ObjectNotFound: the server came back with another database.
    from httpx import HTTPError
    from prefect.exceptions import ObjectNotFound

    outcome: list[Exception] = []
    try:
        yield outcome
    except (HTTPError, ObjectNotFound) as error:
        outcome.append(error)
        logger.warning("Prefect did not take an artifact, the work goes on: %s: %s", type(error).__name__, error)
