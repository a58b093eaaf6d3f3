"""The house keeps its order: who may know whom, and what must not be imported to look at a picture."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "tasks", "manifests", "imaging", "stylegan")
MAY_KNOW = {
    "flows": {"flows", "tasks", "manifests"},
    "tasks": {"tasks", "manifests", "imaging", "stylegan"},
    "manifests": {"manifests", "imaging", "stylegan"},
    "imaging": {"imaging"},
    "stylegan": {"stylegan"},
}
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_knows_only_the_rooms_below(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert _imported(path) & set(PACKAGES) <= MAY_KNOW[package]


def test_prefect_is_known_at_the_rim_only() -> None:
    knowing = {path.relative_to(ROOT).as_posix() for path in FILES if "prefect" in _imported(path)}
    assert all(name.startswith("flows/") or name == "tasks/track.py" for name in knowing)


def test_pickles_are_written_nowhere() -> None:
    assert not [path for path in FILES if _imported(path) & {"pickle", "joblib", "dill"}]
    saving = re.compile(r"(?<!safetensors\.)torch\.save\(")
    assert not [path for path in FILES if saving.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("imaging.crop", ("torch", "prefect", "pandas")),
        ("stylegan.training", ("prefect", "imaging")),
        ("tasks.crop", ("prefect",)),
    ],
)
def test_importing_a_room_stays_light(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
