"""What happens to a running training, one line each in RUN/events.jsonl; learning rates can be lowered while it runs.

    python -m stylegan.events RUN --lr-G 0.001 --lr-D 0.0005

leaves RUN/request.json, which the training takes between two steps. The learning rate of a step is a function of the
config and of these events, so a training that is killed and resumed, even from before the change, takes every step at
the rate that it would have had.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["resume", "lr", "alarm", "phase", "stop"]

FILE, REQUEST = "events.jsonl", "request.json"

# What a resumed training does and finds again by itself when it repeats steps: lines after its checkpoint go.
MADE_AGAIN = {"alarm", "phase"}


class Rates(NamedTuple):
    """Learning rates of generator and discriminator."""

    G: float
    D: float


class Event(BaseModel):
    """One line of events.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    step: int = Field(description="Optimiser steps done before it; an lr event holds from the step that comes next.")
    kimg: float
    says: str = Field(default="", description="For people; of an alarm its figures and its advice.")
    name: str = Field(default="", description="Of an alarm its name in stylegan.health.ALARMS.")
    lr_G: float | None = Field(default=None, description="Generator's learning rate from here on; none: as it was.")  # noqa: N815
    lr_D: float | None = Field(default=None, description="Discriminator's learning rate, likewise.")  # noqa: N815
    request: str = Field(default="", description="Id of the request that asked for it.")


class Request(BaseModel):
    """What request.json asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    lr_G: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # noqa: N815
    lr_D: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # noqa: N815


def learning_rates_at(rates: tuple[float, float], events: Iterable[Event], step: int) -> Rates:
    """The learning rates of the step that comes after `step` steps: `rates`, unless events have set others."""
    G, D = rates
    for event in sorted((e for e in events if e.kind == "lr" and e.step <= step), key=lambda e: e.step):
        G = G if event.lr_G is None else event.lr_G
        D = D if event.lr_D is None else event.lr_D
    return Rates(G, D)


class Events:
    """The events of a run folder, for the one process that writes them."""

    def __init__(self, run: Path, step: int) -> None:
        """Read those of earlier starts; what a training that is back at `step` will find again is dropped."""
        self.run = run
        self.events = [e for e in read_events(run) if e.step <= step or e.kind not in MADE_AGAIN]
        write_whole(run / FILE, "".join(_line(e) for e in self.events))

    def add(self, event: Event) -> None:
        """Write one more event; it lies on the disk when this returns."""
        self.events.append(event)
        with (self.run / FILE).open("a") as file:
            file.write(_line(event))
            file.flush()
            os.fsync(file.fileno())

    def learning_rates(self, rates: tuple[float, float], step: int) -> Rates:
        """The learning rates of the step that comes after `step` steps, where the config says `rates`."""
        return learning_rates_at(rates, self.events, step)

    def take_request(self, step: int, kimg: float) -> Event | None:
        """Make an event of what someone asked for, if anyone did; it holds from the next step.

        A training that repeats steps after a kill has events ahead of it; what is asked for meanwhile holds from the
        last of them, since the newest wish must win.
        """
        request = read_request(self.run)
        if request is None:
            return None
        event = None
        if all(e.request != request.id for e in self.events):  # else killed between the event and the deletion
            ahead = max([e.step for e in self.events if e.kind == "lr"], default=step)
            event = Event(
                kind="lr",
                step=max(step, ahead),
                kimg=kimg,
                says=_said(request),
                lr_G=request.lr_G,
                lr_D=request.lr_D,
                request=request.id,
            )
            self.add(event)
        (self.run / REQUEST).unlink()
        return event


def read_events(run: Path) -> list[Event]:
    """The events of a run folder in the order of their writing; a last line cut short by a kill is none."""
    file = run / FILE
    if not file.exists():
        return []
    lines = file.read_text().splitlines(keepends=True)
    try:
        return [Event.model_validate_json(line) for line in lines if line.endswith("\n")]
    except ValidationError as error:
        raise ValueError(f"{file} cannot be read: {error}; mend the line, or delete it") from error


def read_request(run: Path) -> Request | None:
    """What request.json asks for; None when nobody asks."""
    try:
        return Request.model_validate_json((run / REQUEST).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ValueError(
            f"{run / REQUEST} cannot be read: {error}; delete it, and ask with `python -m stylegan.events`"
        ) from error


def ask(run: Path, lr_G: float | None = None, lr_D: float | None = None) -> Request:
    """Leave a request for the training in a run folder; one that it has not taken yet is completed."""
    if not (run / "job.json").is_file():
        raise ValueError(f"{run} holds no job.json: give the folder of a run")
    if (run / "done.json").exists():
        raise ValueError(f"the training in {run} is done: start another one from its checkpoint")
    for name, rate in (("lr_G", lr_G), ("lr_D", lr_D)):
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"{name} is {rate}: a learning rate is a number above 0, such as 0.001")
    if lr_G is None and lr_D is None:
        raise ValueError("nothing is asked for: give --lr-G, --lr-D or both")
    pending = read_request(run)
    if pending is not None:
        lr_G, lr_D = (pending.lr_G if lr_G is None else lr_G), (pending.lr_D if lr_D is None else lr_D)
    request = Request(id=uuid.uuid4().hex, lr_G=lr_G, lr_D=lr_D)
    write_whole(run / REQUEST, request.model_dump_json(exclude_none=True) + "\n")
    return request


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill, never finds half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _line(event: Event) -> str:
    return json.dumps(event.model_dump(exclude_defaults=True)) + "\n"


def _said(request: Request) -> str:
    return ", ".join(f"{k} = {v:g}" for k, v in (("lr_G", request.lr_G), ("lr_D", request.lr_D)) if v is not None)


def main(arguments: list[str] | None = None) -> int:
    """Ask a running training for other learning rates; answer with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stylegan.events", description=main.__doc__)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--lr-G", type=float, help="the generator's learning rate from now on")
    parser.add_argument("--lr-D", type=float, help="the discriminator's learning rate from now on")
    given = parser.parse_args(arguments)
    try:
        request = ask(given.run, given.lr_G, given.lr_D)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"asked for {_said(request)}: it holds from the next step, {given.run / FILE} will say from which")
    return 0


if __name__ == "__main__":
    sys.exit(main())
