# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
MANIFEST ?= manifests/toon.yaml

.PHONY: help setup demo test lint format clean

help:
	@echo "make demo   set up, then from drawn pictures to a trained, cleaned, retrained StyleGAN and its report"
	@echo "make test   set up, then the tests"
	@echo "make setup  the environment alone: .venv, with the command at .venv/bin/stylegan"
	@echo "make lint   ruff and mypy --strict"

setup: .venv/done

# Written last: an interrupted installation is done again.
.venv/done: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11-3.13 is needed, this is {v}: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch .venv/done

demo: setup
	$(BIN)/stylegan run $(MANIFEST)

# A file a process: what the tests of one file share is made once.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
