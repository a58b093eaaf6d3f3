"""Kills a tiny training again and again, resumes it, and compares it with one that was never killed.

    python -m benchmarks.kill_resume [--kills 100] [--ranks 2] [--micro-batches 8,4]

Half of the kills (SIGKILL) come at random times, half when the training is about to do its n-th file operation (open
for writing, make, rename, delete), n random: inside of checkpoints, between their files, before and after the rename.
Everything that a training remembers is in use: path length, R1, adaptive augmentation, style mixing, noise, ramp-up of
the average, and a learning rate that was lowered on the way. Both files of the last checkpoint must be the same
to the last bit, and so must every figure of stats.jsonl that is no time; resumed with other micro-batches, weights may
differ by 1e-5 of their size.

Trainings are forked from this process, which has imported everything and never trained: a start costs little.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import io
import itertools
import json
import os
import random
import signal
import socket
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pandas
import safetensors.torch
import torch
import torch.distributed
import torch.utils.tensorboard  # slow to import: every training would do it again

from benchmarks.health import disc
from stylegan.checkpoint import MODEL, STATE
from stylegan.training import Stop, run_job

STEPS = 60
RECIPE: dict[str, Any] = {
    "resolution": 8,
    "kimg": STEPS * 8 / 1000,
    "batch": 8,
    "seed": 3,
    "network": {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 8},
    "r1_interval": 4,
    "path_interval": 4,
    "augment": {
        "mode": "adaptive",
        "p": 0.5,
        "target": 0.1,
        "interval": 25,
        "kimg": 2.0,
        "transforms": ["xflip", "brightness"],
    },
    "tick_kimg": 0.04,
    "sample_kimg": 0.08,
    "snapshot_kimg": 0.04,
    "sample_columns": 2,
    "sample_rows": 2,
    "device": "cpu",
    "threads": 1,
}
LOWERED = {"kind": "lr", "step": 31, "kimg": 0.248, "lr_G": 0.001, "lr_D": 0.0015}
TIMES = {"seconds", "seconds_per_kimg", "eta_seconds", "loader_per_second", "loader_waited"}
CHANGES = {"os.rename": "rename", "os.mkdir": "make", "os.remove": "delete", "os.rmdir": "delete"}
LONGEST = 0.8  # seconds that a training lives before a kill by time
OPERATIONS = 60  # among which a kill by file operation is drawn; a checkpoint and its neighbours take about 25
PATIENCE = 120.0  # seconds after which a training that does not end is hung
TOLERANCE = 1e-5


class Kill(NamedTuple):
    """When a training is killed."""

    seconds: float | None = None  # after its start
    operation: int | None = None  # before its file operation of this number


def write_shards(folder: Path) -> int:
    """A shard folder of 40 drawn faces."""
    folder.mkdir()
    rows = []
    with tarfile.open(folder / "000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(40):
            data = cv2.imencode(".png", disc(i, 8))[1].tobytes()
            info = tarfile.TarInfo(f"{i:04d}_000.png")
            info.size = len(data)
            row = {"id": f"{i:04d}_000", "shard": "000.tar", "offset": tar.offset + 512, "length": len(data)}
            tar.addfile(info, io.BytesIO(data))
            rows.append(row | {"split": "held_out" if i < 8 else "train", "label": -1})
    pandas.DataFrame(rows).to_parquet(folder / "index.parquet")
    return 0


def write_run(run: Path, shards: Path) -> Path:
    """A run folder that has not begun."""
    run.mkdir()
    (run / "events.jsonl").write_text(json.dumps(LOWERED) + "\n")
    set_job(run, shards, None)
    return run


def set_job(run: Path, shards: Path, micro_batch: int | None) -> None:
    """Write job.json."""
    config = RECIPE | {"micro_batch": micro_batch}
    (run / "job.json").write_text(json.dumps({"config": config, "shards": str(shards)}))


def forked(work: Callable[[], int], log: Path) -> int:
    """The process id of a child that does some work, whose words go to a file."""
    process = os.fork()
    if process:
        return process
    try:
        words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        code = work()
    except BaseException:  # noqa: BLE001  # a child must never come back into its parent's loop
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(processes: Sequence[int], seconds: float = PATIENCE) -> list[int] | None:
    """Exit codes of processes, of a killed one minus its signal; None when they do not end in time."""
    codes: dict[int, int] = {}
    end = time.monotonic() + seconds
    while True:
        for process in set(processes) - codes.keys():
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                codes[process] = os.waitstatus_to_exitcode(status)
        # First whether all have ended: one that did so in the last moment is not waited for again.
        if len(codes) == len(processes):
            return [codes[process] for process in processes]
        if time.monotonic() > end:
            return None
        time.sleep(0.002)


def kill_before_operation(run: Path, number: int) -> None:
    """From now on this process kills itself before its file operation of this number in the run folder."""
    operations = itertools.count(1)
    inside = f"{run}/"

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        changes = CHANGES.get(event)
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            changes = "open"
        if changes is None or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path(os.fsdecode(arguments[0]))
        # A folder is emptied by names relative to it.
        mine = changes == "delete" if not path.is_absolute() else str(path).startswith(inside)
        if mine and "tensorboard" not in path.parts and next(operations) == number:
            place = path.relative_to(inside) if path.is_absolute() else Path("...") / path
            os.write(2, f"\nkilled before: {changes} {kind_of(place)}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


def kind_of(path: Path) -> str:
    """A path in a run folder without what is different every time."""
    return str(Path(*("KIMG" if part.strip(".")[:6].isdigit() else part for part in path.parts)))


def start(run: Path, ranks: int, kill: Kill) -> list[int]:
    """Process ids of a training's ranks."""
    port = free_port() if ranks > 1 else 0

    def work(rank: int) -> int:
        if ranks > 1:
            about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | {k: str(v) for k, v in about.items()}
        if kill.operation is not None and rank == 0:
            kill_before_operation(run, kill.operation)
        return run_job(run, Stop())

    return [forked(functools.partial(work, rank), run / f"log-{rank}.txt") for rank in range(ranks)]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def live(run: Path, ranks: int, kill: Kill) -> str:
    """Train until the end or the kill, and answer with where it was killed; "" when it came to its end before."""
    processes = start(run, ranks, kill)
    codes = ended(processes[:1], PATIENCE if kill.seconds is None else kill.seconds)
    if codes == [0]:
        codes = ended(processes[1:])
        assert codes == [0] * (ranks - 1), f"rank 0 is done, the others answer {codes}"
        return ""
    half_written = any((run / "checkpoints").glob(".*.part")) if codes is None else False
    for process in processes:  # a launcher ends the other ranks with the first that dies
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    after = ended(processes[len(codes or []) :])
    assert after is not None, "a killed process does not end"
    if kill.seconds is not None:
        assert codes is None, f"rank 0 answers {codes}: {(run / 'log-0.txt').read_text()[-2000:]}"
        return "at a random time, inside of a save" if half_written else "at a random time"
    assert codes == [-signal.SIGKILL], f"rank 0 answers {codes}: {(run / 'log-0.txt').read_text()[-2000:]}"
    return (run / "log-0.txt").read_text().rsplit("killed before: ", 1)[1].strip()


def kills(seed: int) -> Iterator[Kill]:
    """Kills, for ever."""
    draw = random.Random(seed)
    while True:
        yield Kill(seconds=draw.uniform(0, LONGEST))
        yield Kill(operation=draw.randint(1, OPERATIONS))


def torn(run: Path, shards: Path, ranks: int, micro_batches: Sequence[int | None], left: Iterator[Kill]) -> list[str]:
    """Train to the end however often it is killed; where it was. Every start takes the next size of micro-batch."""
    moments: list[str] = []
    for micro_batch, kill in zip(itertools.cycle(micro_batches), itertools.chain(left, itertools.repeat(Kill(3600.0)))):
        set_job(run, shards, micro_batch)
        moment = live(run, ranks, kill)
        if not moment:
            return moments
        moments.append(moment)
    raise AssertionError


def last_checkpoint(run: Path) -> Path:
    """The checkpoint that a finished run names."""
    return run / "checkpoints" / str(json.loads((run / "done.json").read_text())["checkpoint"])


def digests(run: Path) -> list[str]:
    """SHA-256 of both files of a finished run's last checkpoint, and of its figures without the times."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    figures = json.dumps([{k: v for k, v in line.items() if k not in TIMES} for line in lines]).encode()
    files = [(last_checkpoint(run) / name).read_bytes() for name in (MODEL, STATE)]
    return [hashlib.sha256(data).hexdigest() for data in (*files, figures)]


def difference(run: Path, whole: Path) -> float:
    """The largest difference of two finished runs' weights, relative to the size of their tensor."""
    ours, theirs = (safetensors.torch.load_file(last_checkpoint(r) / MODEL) for r in (run, whole))
    return max(float((ours[k] - v).norm() / v.norm().clamp_min(1e-12)) for k, v in theirs.items())


def main() -> int:
    """Print where trainings were killed, and whether they came to the same end; answer with the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many kills in all")
    parser.add_argument("--ranks", type=int, default=1, help="processes of a training")
    parser.add_argument("--micro-batches", default="", help="micro-batches of the starts in turn; empty: none")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    given = parser.parse_args()
    sizes: list[int | None] = [int(size) for size in given.micro_batches.split(",") if size] or [None]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # imports for more than a second: here once, not in every training
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        moments, wrong = compare(Path(folder), given.kills, given.ranks, sizes, given.seed)
    for moment, count in sorted(collections.Counter(moments).items()):
        print(f"{count:5} killed {moment}")
    seconds = time.monotonic() - begin
    right = "equal to never killed" if sizes == [None] else f"within {TOLERANCE} of never killed"
    print(f"{len(moments)} kills, {given.ranks} ranks, {seconds:.0f} s: {'; '.join(wrong) or right}")
    return bool(wrong)


def compare(
    folder: Path, num_kills: int, ranks: int, micro_batches: Sequence[int | None], seed: int
) -> tuple[list[str], list[str]]:
    """Where trainings were killed, and in what those that came to their end differ from one never killed."""
    shards, whole = folder / "shards", folder / "whole"
    assert ended([forked(functools.partial(write_shards, shards), folder / "log.txt")]) == [0]
    torn(write_run(whole, shards), shards, ranks, [None], iter(()))
    moments: list[str] = []
    wrong: list[str] = []
    endless = kills(seed)
    for number in itertools.count():
        run = write_run(folder / f"torn-{number}", shards)
        moments += torn(run, shards, ranks, micro_batches, itertools.islice(endless, num_kills - len(moments)))
        if micro_batches == [None]:
            names = (MODEL, STATE, "stats.jsonl")
            wrong += [f"{n} differs" for n, a, b in zip(names, digests(run), digests(whole), strict=True) if a != b]
        elif (apart := difference(run, whole)) > TOLERANCE:
            wrong.append(f"weights differ by {apart:.1e}")
        else:
            print(f"run {number}: weights differ by {apart:.1e}")
        if len(moments) >= num_kills:
            return moments, wrong
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main())
