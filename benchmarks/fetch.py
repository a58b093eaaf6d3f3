"""Pictures a second that `urls` fetches from a server on loopback: `python -m benchmarks.fetch`.

The server is a process of its own and sends the same picture for every path. What is measured is all that a run does:
reading the table, asking, hashing, writing each picture under the name of its content, and the journal. Beside it,
from the same run, stand a bare loop over the same connections and a second run, which asks for nothing. img2dataset
pins libraries that cannot be installed beside ours: its figure was measured before, on a machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from manifests.sources.remote import Limits, UrlsSource
from tasks.sources.polite import Bandwidth, Wanted
from tasks.sources.urls import find_by_urls
from tasks.sources.web import Visitor, Web

IMG2DATASET = 950  # pictures/s, kept as they are, from loopback on two cores
LIMITS = Limits(allow_private=True, connections=16, per_host=16, requests_per_second=1e6)


def main() -> None:
    """Print the medians of several runs, all of them interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--bytes", type=int, default=40_000, help="of a picture")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "benchmarks.fetch_server", str(asked.bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            report([f"http://127.0.0.1:{port}/{number}.jpg" for number in range(asked.pictures)], asked.runs)
        finally:
            server.terminate()


def report(urls: list[str], runs: int) -> None:
    """The table."""
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            config = _source(urls, Path(folder))
            steps: dict[str, Callable[[], object]] = {
                "bare loop over our connections": lambda: _bare(urls),
                "urls, everything": lambda: _run(config, Path(folder)),  # noqa: B023  called at once
                "urls, a second run": lambda: _run(config, Path(folder)),  # noqa: B023
            }
            for name, step in steps.items():
                began, busy = time.perf_counter(), time.process_time()
                step()
                seconds.setdefault(name, []).append(time.perf_counter() - began)
                cpu.setdefault(name, []).append(time.process_time() - busy)
    print(f"{len(urls):,} pictures, medians of {runs} runs: pictures/s, pictures a core-second of this process")
    for name in seconds:
        wall, work = (len(urls) / statistics.median(times[name]) for times in (seconds, cpu))
        print(f"{name:32} {wall:10,.0f} {work:10,.0f}")
    print(f"{'img2dataset, stated':32} {IMG2DATASET:10,}")


def _source(urls: list[str], folder: Path) -> UrlsSource:
    table = folder / "list.jsonl"
    table.write_text("".join(json.dumps({"url": url}) + "\n" for url in urls))
    return UrlsSource(kind="urls", tables=(str(table),), limits=LIMITS)


def _run(config: UrlsSource, folder: Path) -> None:
    found = list(find_by_urls(config, folder / "work", lambda done, total, unit: None))
    assert not any(file.reason for file in found)


def _bare(urls: list[str]) -> None:
    with Web(LIMITS, Visitor(), Bandwidth(None)) as web, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda url: web.get(Wanted(url, None), 1 << 30), urls))


if __name__ == "__main__":
    main()
