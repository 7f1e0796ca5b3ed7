# The project's habits, each defined once: people, pre-commit and .ci/run call these and nothing else.

PYTHON ?= python3
LAYER ?= memory://
HOST ?= 127.0.0.1
PORT ?= 8000
SECONDS ?= 60
SEED ?=
BROKER ?=
RESUME ?=

VENV := .venv
SETUP := $(PYTHON) scripts/setup.py
PYTEST := $(VENV)/bin/python -m pytest
# What takes long of tests/workspace; `make test` runs it, too.
SLOW := test_readme.py test_site.py
# The theme's word about its future is for who chooses a theme, not for who reads a build.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all chaos fuzz mutants check lint types guards docs docs-serve docs-check screenshots isolate fmt bench bench-full bench-plots clean python tools

help: ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the Python of .venv (now: $(PYTHON));"
	@echo "  LAYER, HOST and PORT say what the demo uses (now: $(LAYER) $(HOST) $(PORT));"
	@echo "  SECONDS, SEED and BROKER what the chaos and fuzz runs do (now: $(SECONDS) s on $(or $(BROKER),every broker))."

setup: python ## install everything that tests and checks need, a browser and brokers included
	@$(SETUP) dev browser brokers

demo: python ## install what the demo needs, then serve a chat page
	@$(SETUP) demo
	@LAYER='$(LAYER)' HOST='$(HOST)' PORT='$(PORT)' $(VENV)/bin/python -m fast_channels_tools.demo

test: setup ## install what is missing, then run every test except the long ones
	$(PYTEST) -n 2 --dist loadfile -m "not long" tests

test-all: setup ## run every test, on each declared Python found on this machine
	$(VENV)/bin/python scripts/test_all.py

chaos: setup ## kill servers and brokers, cut and freeze clients: nobody may miss a message or see it twice
	$(VENV)/bin/python -m tests.chaos.run --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(addprefix --broker ,$(BROKER))

fuzz: tools ## give hostile input to all that brokers, clients and URLs can reach: nothing but documented errors
	@$(SETUP) fuzz
	$(VENV)/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

mutants: tools ## break backends, queues and layers in every way, show which clause of the kit notices
	$(VENV)/bin/python -m tests.conformance.mutants

check: lint types guards ## format, lint, types, guards: what every commit passes, in under a minute

lint: tools ## ruff: is it formatted, and does it break a rule
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

types: tools ## mypy and pyright, both strict, over every package
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --warnings

guards: tools ## import direction and purity, versions, module sizes, links and commands of pages
	$(PYTEST) -q tests/workspace $(addprefix --ignore tests/workspace/,$(SLOW))

screenshots: tools ## make the pictures of the documentation anew
	@$(SETUP) browser
	$(VENV)/bin/python scripts/screenshots.py

isolate: tools ## build every backend's wheel and import each alone, in an empty environment
	$(PYTEST) -q tests/examples/test_isolation.py

docs: python ## build the documentation site into site/; a warning is an error
	@$(SETUP) docs
	$(MKDOCS) build --strict

docs-serve: python ## show the documentation site while one writes
	@$(SETUP) docs
	$(MKDOCS) serve --livereload

docs-check: tools ## run the documentation's Python blocks and build its site, as `make test` does
	$(PYTEST) -q -n 2 --dist loadfile $(addprefix tests/workspace/,$(SLOW))

fmt: tools ## format the code and apply the safe fixes
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: tools ## compare with other libraries, every scenario quickly: at most 5 minutes
	$(VENV)/bin/python -m benchmarks --quick

bench-full: tools ## the same with everything, for docs/performance.md: 35 minutes; RESUME=1 goes on
	$(VENV)/bin/python -m benchmarks --full $(if $(RESUME),--resume)

bench-plots: tools ## draw the plots and fill in the tables of docs/performance.md
	$(VENV)/bin/python -m benchmarks.report

clean: ## remove what these commands made inside the repository
	rm -rf .venv .venvs .bench site uv.lock dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON): no such command; install Python 3.11 or newer, or name it: make ... PYTHON=/path/to/python3" >&2; \
	    exit 1; }

tools: python
	@$(SETUP) dev
