"""A real Prefect server and a real worker on loopback: deploy, run, kill, run again.

The tests of the server follow each other: each begins where the one before it ended.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploy import AUTOMATIONS, write_automations
from flows.worker import children

ROOT = Path(__file__).resolve().parents[2]
PREFECT = (sys.executable, "-m", "prefect", "--no-prompt")
WORKER = (sys.executable, "-m", "flows.worker")
DEPLOYMENTS = {
    "train/celeba-train",
    "train/toon-train",
    "train/anime-train",
    "retrain/celeba-monthly",
    "transfer/character",
    "export/gallery",
}
TINY = """\
name: {name}
seed: {seed}
resolution: 32
buckets: 2
sources:
  - kind: toon
    pictures: 24
crop:
  min_face: 64
train:
  preset: toon
  kimg: {kimg}
  tick_kimg: 0.032
  sample_kimg: 0.032
  snapshot_kimg: 0.032
  sample_columns: 4
  sample_rows: 2
  network: {{z_dim: 16, w_dim: 16, channel_base: 256, channel_max: 16}}
evaluate:
  num_images: 16
  num_patches: 16
  num_directions: 32
export:
  figures: [sample-grid]
  films: []
"""


@dataclass(frozen=True)
class Server:
    """A server of its own: its folder, its address, and the environment in which it is the one that answers."""

    folder: Path
    url: str
    environment: dict[str, str]
    process: int = 0

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "processes.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def ask(self, path: str, **body: Any) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.url}/{path}/filter", json=body, timeout=30)
        return list(answer.raise_for_status().json())

    def state(self, run: str) -> str:
        return str(httpx.get(f"{self.url}/flow_runs/{run}", timeout=30).raise_for_status().json()["state_type"])

    def log(self) -> str:
        return (self.folder / "processes.log").read_text(errors="replace")[-5000:]

    def manifest(self, name: str, seed: int, kimg: float) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(TINY.format(name=name, seed=seed, kimg=kimg))
        return path

    def records(self) -> dict[Path, int]:
        """When each finished stage of this server's runs was sealed, in ns."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / "data").glob("*/*/record.json")}


def _wait(what: str, happened: Callable[[], object], seconds: float, server: Server) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s\n{server.log()}"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")} | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "STYLEGAN_DATA": str(folder / "data"),
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    server = Server(folder, url, environment)
    started = server.start(*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    try:
        _wait("the server's first answer", lambda: _answers(url), 120, server)
        yield replace(server, process=started.pid)
    finally:
        _kill_all(folder, started)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def _kill_all(folder: Path, started: subprocess.Popen[bytes]) -> None:
    """Kill whatever runs in the server's environment: the runs and trainings are in sessions of their own."""
    mark = f"PREFECT_HOME={folder / 'home'}".encode()
    while found := [path for path in Path("/proc").glob("[0-9]*/environ") if _holds(path, mark)]:
        for path in found:
            _kill(int(path.parent.name))
        time.sleep(0.1)
    _kill(started.pid)
    started.wait()


def _holds(path: Path, mark: bytes) -> bool:
    try:
        return mark in path.read_bytes()
    except OSError:
        return False


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture(scope="module")
def deployed(server: Server) -> Server:
    """The server with everything on it."""
    done = server.run(sys.executable, "-m", "flows.deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    return server


@pytest.fixture(scope="module")
def worker(deployed: Server) -> subprocess.Popen[bytes]:
    return deployed.start(*WORKER)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_is_deployed_without_a_prompt(deployed: Server) -> None:
    flows = {flow["id"]: flow["name"] for flow in deployed.ask("flows")}
    found = {f"{flows[each['flow_id']]}/{each['name']}": each for each in deployed.ask("deployments")}
    assert set(found) == DEPLOYMENTS
    for each in found.values():
        assert each["description"]
        assert "gpu" in each["tags"]
        assert each["enforce_parameter_schema"]
        assert each["parameter_openapi_schema"]["properties"]["manifest"]["type"] == "string"
        assert each["global_concurrency_limit"]["limit"] == 1
    assert [s["slug"] for s in found["retrain/celeba-monthly"]["schedules"] if s["active"]] == ["monthly"]
    assert [pool["concurrency_limit"] for pool in deployed.ask("work_pools") if pool["name"] == "gpu"] == [1]
    assert [each["name"] for each in deployed.ask("automations")] == ["reap-zombies"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("worker")
def test_a_deployment_runs_to_completed_and_shows_its_artifacts(deployed: Server) -> None:
    manifest = deployed.manifest("first", seed=1, kimg=0.064)
    done = deployed.run(*PREFECT, "deployment", "run", "train/toon-train", "--watch", "-p", f"manifest={manifest}")
    assert done.returncode == 0, done.stdout + done.stderr + deployed.log()
    run = re.findall(r"UUID: (\S+)", done.stdout)[0]
    assert deployed.state(run) == "COMPLETED"
    shown = {a["key"]: a for a in deployed.ask("artifacts", artifacts={"flow_run_id": {"any_": [run]}})}
    reasons = json.loads(shown["first-crop-counts"]["data"])
    assert sum(row["rows"] for row in reasons if row["kind"] == "picture") == 24
    assert shown["first-sample-grid"]["data"].startswith("data:image/png;base64,iVBOR")
    assert shown["first-train-progress"]["data"] == 100
    report = re.findall(r"\((file://.+)\)", shown["first-report"]["data"])[0]
    assert Path(unquote(urlparse(report).path)).read_text().startswith("<!doctype html>")
    tasks = {t["name"] for t in deployed.ask("task_runs", flow_runs={"id": {"any_": [run]}})}
    assert {"download", "crop", "dedup", "upscale", "shard", "train", "evaluate", "export"} <= tasks


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_kill_the_next_run_repeats_no_finished_stage(deployed: Server, worker: subprocess.Popen[bytes]) -> None:
    _reap_sooner(deployed)
    manifest = deployed.manifest("second", seed=2, kimg=0.512)
    trainings = deployed.folder / "data" / "runs"
    begun = deployed.run(*PREFECT, "deployment", "run", "train/toon-train", "-p", f"manifest={manifest}")
    killed = re.findall(r"UUID: (\S+)", begun.stdout)[0]
    _wait("a tick of the training", lambda: [*trainings.glob("*-second/stats.jsonl")], 240, deployed)
    for process in _family(worker.pid):
        os.kill(process, signal.SIGKILL)
    worker.wait()
    sealed = deployed.records()
    assert {path.parent.parent.name for path in sealed} >= {"download", "crop", "dedup", "upscale", "shard"}
    assert deployed.state(killed) == "RUNNING"
    _wait("the zombie's end", lambda: deployed.state(killed) == "CRASHED", 90, deployed)

    deployed.start(*WORKER)
    again = deployed.run(*PREFECT, "deployment", "run", "train/toon-train", "--watch", "-p", f"manifest={manifest}")
    assert again.returncode == 0, again.stdout + again.stderr + deployed.log()
    after = deployed.records()
    assert {path: after[path] for path in sealed} == sealed
    assert {path.parent.parent.name for path in after.keys() - sealed.keys()} == {"train", "evaluate", "export"}
    [training] = trainings.glob("*-second")
    steps = [json.loads(line)["step"] for line in (training / "stats.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def _family(process: int) -> list[int]:
    """The process, its children and theirs: our wrapper, Prefect's worker and its flow run, but not the training."""
    return [process, *(each for child in children(process) for each in [child, *children(child)])]


def _holders(run: str) -> list[Path]:
    """The processes that carry out a flow run, and those that they started."""
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    return [path for path in Path("/proc").glob("[0-9]*/environ") if _holds(path, mark)]


def _reap_sooner(server: Server) -> None:
    # 45 s instead of 90: heartbeats come every 30 s, and this test has no time.
    shipped = AUTOMATIONS.read_text()
    assert "within: 90" in shipped
    sooner = server.folder / "automations.yaml"
    sooner.write_text(shipped.replace("within: 90", "within: 45"))
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        write_automations(client, sooner)
    assert [each["trigger"]["within"] for each in server.ask("automations")] == [45]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_waits_for_a_review_is_suspended_and_goes_on_when_resumed(deployed: Server) -> None:
    deployed.start(*WORKER)  # a killed one is gone; two do no harm
    manifest = deployed.manifest("third", seed=3, kimg=0.064)
    manifest.write_text(manifest.read_text() + "clean: {drop_lowest: 0.1, wait: true, control: false}\nretrain: {}\n")
    begun = deployed.run(*PREFECT, "deployment", "run", "retrain/celeba-monthly", "-p", f"manifest={manifest}")
    run = re.findall(r"UUID: (\S+)", begun.stdout)[0]
    _wait("the suspension", lambda: deployed.state(run) == "PAUSED", 240, deployed)
    # A worker that is handed a run which it has not let go of falls over it: people are not as quick as this test.
    _wait("the end of its process", lambda: not _holders(run), 60, deployed)
    sealed = deployed.records()
    assert not [path for path in sealed if path.parent.parent.name in ("clean", "retrain")]
    with temporary_settings({PREFECT_API_URL: deployed.url}), get_client(sync_client=True) as client:
        client.resume_flow_run(run, run_input={"go_on": True})
    _wait("the end", lambda: deployed.state(run) in ("COMPLETED", "FAILED", "CRASHED"), 240, deployed)
    assert deployed.state(run) == "COMPLETED", deployed.log()
    after = deployed.records()
    assert {path: after[path] for path in sealed} == sealed
    assert {"clean", "retrain", "choose"} <= {path.parent.parent.name for path in after}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lost_server_costs_an_artifact_and_no_stage(server: Server) -> None:
    code = """
import os, signal, sys
from prefect import flow
from tasks.track import Progress, publish_table, tracked

def stage():
    bar = Progress("bar", clock=lambda: 0.0)
    answers = [publish_table("before", [{"rows": 1}]), bar.show(1), bar.show(2), bar.show(100)]
    os.kill(int(sys.argv[1]), signal.SIGKILL)
    return [*answers, publish_table("after", [{"rows": 1}]), bar.show(100)]

@flow(persist_result=False)
def small():
    print(tracked("stage", stage)(), flush=True)
    os._exit(0)

small()
"""
    answers = subprocess.run(
        [sys.executable, "-c", code, str(server.process)],
        cwd=ROOT,
        env=server.environment | {"PREFECT_CLIENT_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answers.stdout.strip() == "[True, True, False, True, False, False]", answers.stderr
    assert "the work goes on" in answers.stderr
