# Sets everything up in .venv by itself; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: compare test lint clean

compare: .venv/ready
	$(BIN)/rtbench compare --chart

test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not alone" --numprocesses 2
	$(BIN)/python -m pytest -m alone

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
