# Each target works alone on a machine that has Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin

# Tests that need no process but their own run side by side; those that start Ray and kill processes do not.
ALONE := tests/trainables tests/analysis tests/test_replay.py tests/test_imports.py

.PHONY: setup demo test nightly check bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/ablate run first-look

test: setup
	$(BIN)/python -m pytest -q -n auto $(ALONE)
	$(BIN)/python -m pytest -q tests $(ALONE:%=--ignore=%)

nightly: setup
	$(BIN)/python -m pytest -q -m nightly tests

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
