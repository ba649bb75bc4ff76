# Two commands for a newcomer: `make demo` and `make test`. Both install what they need.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# What is installed is compiled by all cores at once: pip does it with one, a third of its time. Its tests are left out.
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
COMPILE = $(BIN)/python -W ignore -m compileall -q -j 0 -x 'site-packages/.*/tests?/' $(VENV)/lib sidecar exporters webhooks rules >/dev/null 2>&1

# Tests are rewritten when they are read; kept, that is done once and not by every worker.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test parts read unit integration lint types contracts chart bench format clean install dev servers

help:            ## What can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## The whole thing on this machine, until Ctrl-C.
	@$(BIN)/python -m sidecar.cli.demo.install
	@exec $(BIN)/pronoia demo $(ARGS)

test: lint contracts  ## Every check: lint, types, imports, unit, real servers, promtool, chart.
	@$(MAKE) --no-print-directory -j 4 types servers parts read
	$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder -rR tests/unit tests/integration

lint: dev        ## Style and errors (ruff).
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev       ## Types, strictly (mypy).
	$(BIN)/mypy

contracts: dev   ## Which room may import which (import-linter).
	$(BIN)/lint-imports

chart: dev servers  ## Only the Helm chart: lint, render, schema.
	$(BIN)/pytest -q tests/unit/chart

parts: dev       ## What every detector and forecaster keeps; it also compiles what all other tests load.
	$(BIN)/pytest -q --timeout 600 tests/contract

read: dev        ## Every test file is read once, so that no worker has to; what is wrong with one, the tests will say.
	@$(BIN)/pytest -q --collect-only -n 0 tests/unit tests/integration >/dev/null || true

unit: dev servers ## Fast tests, promtool included.
	$(BIN)/pytest -q -n 2 --dist loadfile tests/unit

integration: dev servers  ## Tests on real Prometheus, Alertmanager and Helm.
	$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder -rR tests/integration

bench: dev servers  ## Speed, as ratios measured side by side (ARGS=--quick for a short run).
	@$(INSTALL) -e '.[bench]'
	$(BIN)/python -m tests.benchmarks $(ARGS)

format: dev      ## Rewrite the sources as `make lint` wants them.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed
dev: $(VENV)/.dev

servers: $(VENV)/.installed
	@$(BIN)/python -m sidecar.cli.demo.install --for-tests

$(VENV)/bin/python:
	@PYTHON=$(PYTHON) VENV=$(VENV) sh tools/venv.sh

$(VENV)/.installed: pyproject.toml $(VENV)/bin/python
	@echo "Installing pronoia and what it needs into $(VENV) …"
	@$(INSTALL) -e .
	@# Where Python may not write bytecode, each command would compile all that it imports.
	@$(COMPILE) || true
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/bin/python
	@echo "Installing pronoia, what it needs and the development tools into $(VENV) …"
	@$(INSTALL) -e '.[dev]'
	@$(COMPILE) || true
	@touch $(VENV)/.installed $@

clean:           ## Remove what was built and the caches; data folders stay.
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
