# Sets everything up in .venv by itself; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
# more workers than cores, since most tests wait for processes; a file stays on one of them, with what it has measured
TOGETHER := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: compare quick test test-all lint dictionary clean

compare: .venv/ready
	$(BIN)/rtbench compare --chart

# pure tests only: no process, no socket; 30 seconds at most
quick: .venv/ready-dev
	$(BIN)/python -m pytest -m "not process and not alone and not statistics and not long" --numprocesses 2 --dist worksteal

# what every change must pass; 4 minutes at most on two cores, also while other programs run
test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not alone and not statistics and not long" $(TOGETHER)

# everything; the second part measures, and needs the machine to itself
test-all: .venv/ready-dev
	$(BIN)/python -m pytest -m "not alone" $(TOGETHER)
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
