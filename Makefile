# Every target makes and uses its own virtual environment (VENV); nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DATA ?= demo_data
OUT ?= output

.PHONY: help install demo matrix test test-fast check wheel bench fuzz inject docs label-test clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: $(VENV)/.installed ## virtual environment with the tested versions

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

demo: install ## demo cohort, short CPU training of the small preset, evaluation, figures
	$(BIN)/uad demo --data $(DEMO_DATA) --output $(OUT)/demo

matrix: install ## eleven methods, two folds on the demo cohort: tables and figures (two CPU cores, an hour or more)
	$(BIN)/uad cohort $(DEMO_DATA)
	$(BIN)/uad matrix matrices/demo.json --data $(DEMO_DATA) --output $(OUT)/matrix --workers 2

bench: install ## times beside public packages, under ten minutes; the tables go to docs/benchmarks.md
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev,bench]"
	$(BIN)/python benchmarks/run.py --markdown docs/benchmarks.md

test: install ## all tests and the examples of the documentation strings
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-fast: install ## the tests that take a moment each
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow"

wheel: install ## build the wheel and run its commands in a fresh environment from an empty folder
	.ci/wheel $(BIN)/python

check: install ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

FUZZ_SECONDS ?= 60
fuzz: install ## mutated bytes for everything that reads foreign files, FUZZ_SECONDS (60) in all
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS)

INJECTIONS ?= 5400
inject: install ## faults injected into every kind of file that is read (INJECTIONS, 5400): docs/results/injected_faults.json
	PYTHONPATH=. $(BIN)/python fuzz/inject.py --count $(INJECTIONS) --json docs/results/injected_faults.json

docs: install ## the pages made from the code and from result files: docs/knobs.md, tables
	$(BIN)/python -m benchmarks.knobs_page docs/knobs.md
	$(BIN)/python -m benchmarks.documents

label-test: install ## a real MONAI Label server on this machine, checked with phantoms (3 GB environment in .venv-label)
	$(BIN)/python scripts/label_server.py --env .venv-label setup
	$(BIN)/python scripts/label_check.py --python .venv-label/bin/python

clean: ## remove what the targets above made
	rm -rf $(VENV) $(DEMO_DATA) $(OUT)/demo
