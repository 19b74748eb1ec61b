# Sets everything up in .venv by itself; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: compare test lint dictionary clean

compare: .venv/ready
	$(BIN)/rtbench compare --chart

test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not alone" --numprocesses 2
	$(BIN)/python -m pytest -m alone

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# writes the columns of every CSV into docs/, from the code that computes them
dictionary: .venv/ready
	$(BIN)/python -m rtbench.result.dictionary docs

clean:
	rm -rf .venv build dist *.egg-info
