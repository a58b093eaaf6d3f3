from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.track import artifact_key

ROOT = Path(__file__).resolve().parents[2]


def test_outside_a_flow_run_a_stage_is_a_plain_call_and_prefect_is_not_imported() -> None:
    code = """
import sys
from pathlib import Path
from tasks.track import Progress, publish_image, publish_link, publish_markdown, publish_table, tracked
assert tracked("double", lambda number, times: number * times)(21, times=2) == 42
assert not publish_table("a", [{"b": 1}]) and not publish_markdown("a", "b") and not publish_link("a", "b")
assert not publish_image("a", Path("no such file")) and not Progress("a").show(100)
print([name for name in sys.modules if name.startswith("prefect")])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "key"), [("toon-crop-counts", "toon-crop-counts"), ("My pics (2)_report", "my-pics-2-report")]
)
def test_an_artifact_key_holds_what_prefect_takes(words: str, key: str) -> None:
    assert artifact_key(words) == key
