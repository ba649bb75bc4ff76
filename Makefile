# Two commands for a newcomer: `make demo` and `make test`. Both install what they need.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help demo test unit integration lint types contracts chart bench format clean install dev servers

help:            ## What can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## The whole thing on this machine, until Ctrl-C.
	@$(BIN)/python -m sidecar.cli.demo.install
	@exec $(BIN)/pronoia demo $(ARGS)

test: lint types contracts unit integration  ## Every check: lint, types, imports, unit, real servers, promtool, chart.

lint: dev        ## Style and errors (ruff).
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev       ## Types, strictly (mypy).
	$(BIN)/mypy

contracts: dev   ## Which room may import which (import-linter).
	$(BIN)/lint-imports

chart: dev servers  ## Only the Helm chart: lint, render, schema.
	$(BIN)/pytest -q tests/unit/chart

unit: dev servers ## Fast tests, promtool included.
	$(BIN)/pytest -q -n 2 --dist loadfile tests/unit tests/contract

integration: dev servers  ## Tests on real Prometheus, Alertmanager and Helm.
	$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder --reruns 1 -rR tests/integration

bench: dev servers  ## Speed, as ratios measured side by side (ARGS=--quick for a short run).
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
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
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@# Where Python may not write bytecode, each command would compile all that it imports.
	@$(BIN)/python -m compileall -q sidecar exporters webhooks rules
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	@echo "Installing the development tools into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:           ## Remove what was built and the caches; data folders stay.
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
