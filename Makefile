# `make demo` and `make test` work on a fresh clone: the first use sets up $(VENV).
# Another interpreter: make PYTHON=python3.12 test.   Another place: make VENV=/some/dir test.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out/demo

RUN := $(VENV)/bin/python
READY := $(VENV)/ready

# Two busy OpenMP pools on the same cores wait for each other: one thread per process, no spinning.
ONE_THREAD := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint bench clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

setup: $(READY) ## Set up the environment in .venv (the other targets do so by themselves)

demo: $(READY) ## Paint a portrait into out/demo
	$(RUN) -m neuralpaint paint --demo --out $(OUT)

lint: $(READY) ## Style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

test: lint ## Style, format, types and tests
	$(ONE_THREAD) $(RUN) -m pytest -n 2 --dist loadgroup

bench: $(READY) ## Print the measured figures, one `name value unit` a line
	$(ONE_THREAD) $(RUN) benchmarks/speed.py
	$(ONE_THREAD) $(RUN) benchmarks/memory.py
	$(RUN) benchmarks/painting.py

clean: ## Remove what tests and builds leave behind (the environment stays)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that an earlier run left unfinished, or whose interpreter is gone, is made again.
# One that works is only brought up to date.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) not found. Install Python 3.10 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: $$($(PYTHON) --version) is too old, 3.10 is needed. Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module (on Debian or Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@if [ -e $(VENV)/unfinished ] || ! $(RUN) -m pip --version >/dev/null 2>&1; then \
	  echo "Setting up $(VENV): a few minutes and about 2 GB, once."; \
	  rm -rf $(VENV) && mkdir -p $(VENV) && touch $(VENV)/unfinished && $(PYTHON) -m venv $(VENV); \
	fi
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/unfinished && touch $@
