# Two commands do all the set-up: `make demo` and `make test`. Both make .venv when it is missing.
PYTHON ?= python3
# What is installed beside the project itself; `make EXTRAS=dev,spark test` adds Spark.
EXTRAS ?= dev
BIN := .venv/bin
# Each process starts with tests that follow each other and share what they need.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
INSTALLED := .venv/installed

.PHONY: demo test test-slow check bench bench-quality docs-figures install clean

demo: install  ## segment generated customers, print the ranking and where to look
	$(BIN)/segment fit sweep=demo

test: install  ## the tests, without the slow ones
	$(PYTEST) -m "not slow"

test-slow: install  ## the slow tests: fresh environments, servers, a browser
	$(PYTEST) -m slow

check: install  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## speed, side by side with the obvious script
	$(BIN)/python benchmarks/run_cost.py
	$(BIN)/python benchmarks/large_data.py
	$(BIN)/python benchmarks/large_data.py --rows 1e7 --features 8 --seeds 1
	$(BIN)/python benchmarks/large_data.py --growth
	$(BIN)/python benchmarks/score.py

bench-quality: install  ## quality of WCSS and of the choice of k
	$(BIN)/python benchmarks/quality_wcss.py
	$(BIN)/python benchmarks/quality_k.py

docs-figures: install  ## the pictures of docs/ from generated customers; the UI's need Chromium
	$(BIN)/python docs/make_figures.py
	$(BIN)/python docs/make_screenshots.py

install: $(INSTALLED)  ## make .venv with the exact versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "segment needs Python 3.11 or newer; say which with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@# On all cores, as pip does not. Where PYTHONDONTWRITEBYTECODE is set, every process would
	@# compile what it imports: half of a small fit's time. A file for another Python may fail.
	-$(BIN)/python -m compileall -q -j 0 .venv/lib src
	@touch $@

clean:  ## remove .venv and caches; the store in mlruns/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
