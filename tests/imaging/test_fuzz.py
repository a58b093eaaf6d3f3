"""A minute of mutated picture files: no error but Undecodable, no hang, no growth; the long run is benchmarks.fuzz."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.fuzz import HANG_SECONDS, MEMORY, Run, made_files, mutated, read_files, try_case, verdict
from tests.conftest import SHARED

CASES = 8000  # of each of four seeds; with the run in a child process about a minute of one core


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Hostile and photographic files where they lie beside the checkout; those made here in any case."""
    folder = SHARED / "realdata" / "hostile"
    return read_files(folder if folder.is_dir() else None)


def test_every_format_is_among_the_made_files_and_is_accepted() -> None:
    verdicts = [verdict(data, 2) for data in made_files()]
    assert set(verdicts) == {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"}


@pytest.mark.parametrize("seed", range(20, 24))
def test_mutated_files_are_decoded_or_refused_and_nothing_else(
    seed: int, files: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    slowest, faults, kinds = 0.0, [], set()
    for case in range(CASES):
        begin = time.perf_counter()
        kind, fault = try_case(files, seed, case)
        slowest = max(slowest, time.perf_counter() - begin)
        kinds.add(kind)
        if fault:
            faults.append((case, fault))
    capfd.readouterr()  # what libtiff had to say
    assert faults == []
    assert kinds == {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "refused"}
    assert slowest < HANG_SECONDS


def test_a_run_stays_within_its_memory_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    first = Run(tmp_path, 21, made_files())
    first.go_on(time.monotonic() + 6)
    again = Run(tmp_path, 21, made_files())
    assert 100 < sum(again.counts.values()) == again.next == first.next
    assert again.faults == []
    assert again.most < MEMORY


def test_a_case_is_always_the_same() -> None:
    files = made_files()
    assert [mutated(files, 3, case) for case in range(50)] == [mutated(files, 3, case) for case in range(50)]
    assert len({mutated(files, 3, case) for case in range(50)}) == 50
