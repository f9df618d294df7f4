# Two commands are enough: `make run` and `make test`. Each does all set-up it needs.
# Every path is relative, so that a checkout may lie anywhere, spaces included.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ONCE ?=
ARGS ?=
WORKERS ?= 3

.PHONY: help install run test long lint format bench chaos docs lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: $(STAMP) ## Set up .venv with the locked dependencies and the `forge` command
	@:

# pip reads the lock with hashes; the project itself comes last, without an index.
$(STAMP): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Forge Governance needs Python 3.11 or newer; name one with: make install PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -m venv --clear .venv || { \
	  echo "Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .
	@touch $(STAMP)

run: $(STAMP) ## Start everything, show the demo, serve until Ctrl-C (ONCE=1: exit after the demo)
	@exec $(BIN)/forge up --demo $(if $(ONCE),--once)

test: $(STAMP) ## Run the tests on servers of their own
	@exec $(BIN)/python -m pytest -n $(WORKERS)

long: $(STAMP) ## Run every case of the matrices and the long jobs, for an hour or more
	@FORGE_LONG=1 exec $(BIN)/python -m pytest -n $(WORKERS)

lint: $(STAMP) ## Style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP) ## Print the ratios the design promises
	@exec $(BIN)/python -m benchmarks

chaos: $(STAMP) ## Replay a whole public voting in a storm of crashes; ARGS="--dataset decentraland"
	@exec $(BIN)/python -m benchmarks.chaos $(ARGS)

docs: $(STAMP) ## Make the generated parts of the docs anew: a diagram, and a simulation's page
	@$(BIN)/python docs/lifecycle.py
	@exec $(BIN)/python -m docs.containment

lock: $(STAMP) ## Renew requirements.lock: names, versions and hashes only
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --extra dev pyproject.toml -o requirements.lock

clean: ## Remove the environment and the caches; FORGE_HOME stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info build
