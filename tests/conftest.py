"""Where shared test data lies, and that its absence is said aloud."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name if name else SHARED
    if not folder.is_dir():
        warnings.warn(f"{folder.name}/ is not beside this checkout: the tests on it are skipped", stacklevel=2)
        pytest.skip(f"no {folder} beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    return _folder("")


@pytest.fixture(scope="session")
def realdata() -> Path:
    return _folder("realdata")


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return _folder("fixtures")
