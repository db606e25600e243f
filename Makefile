# Needs Python 3.11, make and git. Everything is installed into .venv and stays inside this folder.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/installed-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')
FIRST := $(shell grep -E '^(setuptools|torch|uv)==' requirements.lock)

.DEFAULT_GOAL := help
# tests of one file run in one process; those with servers come first, so that no core waits at the end
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test test-all lint format lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv with the versions of requirements.lock

# torch comes through pip, which also finds a CPU build offered by the local pip settings; uv then sees it
# installed and brings the rest in seconds. Where uv cannot (no wheel, another index), pip does it all. Either
# way everything is compiled once: two dozen short processes start in half the time; and the empty databases of
# Prefect and MLflow are made once.
$(STAMP): requirements.lock pyproject.toml
	@rm -f .venv/installed-*
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(FIRST)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock \
		|| $(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q adasde flows
	$(BIN)/python -m flows.dvc.prepare
	$(BIN)/python -m flows.system.databases
	@touch $@

demo: $(STAMP) ## distil, evaluate, track and register the digits model, and show the table
	$(BIN)/adasde run

test: $(STAMP) ## the tests of every feature, minutes
	$(BIN)/python -m pytest $(PARALLEL) -m "not long"

test-all: $(STAMP) ## those and the long ones: kills, real servers under fire, browsers, compilers, clusters
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(STAMP) ## ruff, import-linter, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(STAMP) ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin the newest versions that pyproject.toml allows in requirements.lock
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --extra pipeline --extra dask --extra models --extra dev --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --output-file requirements.lock
	@grep -v -i -E '^(nvidia|triton|cuda)' requirements.lock > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean: ## remove what runs have made (not .venv)
	rm -rf data report dvc_plots .prefect .cache mlflow.db* mlruns .dvc/cache .dvc/tmp
	find adasde flows tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
