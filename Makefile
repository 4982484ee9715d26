# `make demo` and `make test` do all the set-up: they make .venv when it is missing.
PYTHON ?= python3
# Extras to install; `make EXTRAS=dev,spark test` adds Spark.
EXTRAS ?= dev
BIN := .venv/bin
OLDEST := .venv-oldest/bin
# Each process starts with consecutive tests, which share fixtures.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal
PYTEST := $(BIN)/python -m pytest $(PARALLEL)
INSTALLED := .venv/installed
OLDEST_INSTALLED := .venv-oldest/installed

.PHONY: demo test test-slow test-oldest coverage check bench bench-quality docs-figures install clean

demo: install  ## segment generated customers, print the ranking and where to look
	$(BIN)/segment fit sweep=demo

test: install  ## run the tests except the slow ones
	$(PYTEST) -m "not slow"

test-slow: install  ## run the slow tests: fresh environments, servers, a browser
	$(PYTEST) -m slow

test-oldest: $(OLDEST_INSTALLED)  ## run the quick tests on the oldest versions allowed, in .venv-oldest
	@# Old packages warn about their newer dependencies, which is not an error here.
	$(OLDEST)/python -m pytest $(PARALLEL) -W default -m "not slow"

coverage: install  ## measure line and branch coverage of the quick tests and their child processes
	COVERAGE_FILE=$(CURDIR)/.coverage $(PYTEST) -m "not slow" --cov --cov-report=term:skip-covered

check: install  ## check lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## measure speed, compared with the obvious script
	$(BIN)/python benchmarks/run_cost.py
	$(BIN)/python benchmarks/large_data.py
	$(BIN)/python benchmarks/large_data.py --rows 1e7 --features 8 --seeds 1
	$(BIN)/python benchmarks/large_data.py --growth
	$(BIN)/python benchmarks/score.py

bench-quality: install  ## measure the quality of WCSS, the choice of k, the ranking and lasting ids
	$(BIN)/python benchmarks/quality_wcss.py
	$(BIN)/python benchmarks/quality_k.py
	$(BIN)/python benchmarks/quality_ranking.py
	$(BIN)/python benchmarks/quality_identity.py

docs-figures: install  ## draw the figures of docs/; the screenshots need Chromium
	$(BIN)/python docs/make_figures.py
	$(BIN)/python docs/make_screenshots.py

install: $(INSTALLED)  ## make .venv with the exact versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	$(call make-environment,.venv,constraints.txt,$(EXTRAS))

$(OLDEST_INSTALLED): pyproject.toml constraints-oldest.txt
	$(call make-environment,.venv-oldest,constraints-oldest.txt,test)

# Arguments: folder, constraints, extras. Compiles on all cores, which pip does not do: with
# PYTHONDONTWRITEBYTECODE set, every process would compile its imports, half the time of a small
# fit. A file meant for another Python version may fail to compile.
define make-environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segment needs Python 3.11 or newer; name one: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint $(2) --editable ".[$(3)]"
	-$(1)/bin/python -m compileall -q -j 0 $(1)/lib src
	@touch $@
endef

clean:  ## remove environments and caches; the store in mlruns/ stays
	rm -rf .venv .venv-oldest .coverage .coverage.* .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
