# Each target works alone on a machine that has Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test nightly check bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 .venv/lib ablate analysis search_spaces trainables tests || true
	touch $@

demo: setup
	$(BIN)/ablate run first-look

test: setup
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder tests

nightly: setup
	$(BIN)/python -m pytest -q -m nightly tests

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.throughput

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
