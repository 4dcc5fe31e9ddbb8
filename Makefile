PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: schema demo docs test coverage check clean

# The environment: everything pinned by constraints.txt, once.
$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# pyiqa needs torchvision; tests use it for real.
$(VENV)/.pyiqa: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torchvision pyiqa
	touch $@

demo: $(STAMP)
	$(BIN)/iqattack demo

# The documentation, into site/, which opens from disk. A link that leads nowhere is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open site/index.html"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread each: many tests start processes of their own, which would fight over the cores. What
# tests of one file share is made once, so a file stays with one process. Those of a Ray cluster run
# alone: a killed node takes a quarter of a second of replies with it, and they count them.
RAY := tests/engine/test_ray.py
test: $(VENV)/.dev $(VENV)/.pyiqa
	$(BIN)/python -m compileall -q src # or each process does it again where Python writes no caches
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder --ignore $(RAY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(RAY)

# What the tests of these packages reach of them, line by line; less than a floor is an error. It
# takes more than half as long again as the tests alone, so it is no part of `test`.
COVERED := attacks catalogue constraints defences detection directions evaluation images \
    objectives perception
comma := ,
empty :=
coverage: $(VENV)/.dev $(VENV)/.pyiqa
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest --numprocesses 2 --dist loadfile \
	    $(COVERED:%=tests/%)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report \
	    --include "$(subst $(empty) $(empty),$(comma),$(COVERED:%=src/iqattack/%/*))"

# The JSON Schemas of summary.json and leaderboard.json, from the models that write them.
schema: $(STAMP)
	$(BIN)/python -m iqattack.runs.schema > docs/summary.schema.json
	$(BIN)/python -m iqattack.reporting.board > docs/leaderboard.schema.json

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
