# From a machine with Python 3.11+ and make: `make book` builds the book, `make test` checks everything.
# PYTHON=/path/to/python picks another interpreter for the virtual environment.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PAGES := _build/html

# Small SVDs are up to 500 times slower when OpenBLAS threads compete; hash order must not reach an output.
export OPENBLAS_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A backend that the user has chosen would keep the figures out of the notebooks.
unexport MPLBACKEND

.DEFAULT_GOAL := help
.PHONY: help book pdf colab test lint types test-package test-book test-chapters execute settings stills mutants bench \
  long rehearse lock clean
.DELETE_ON_ERROR:

help:
	@echo "make book     build $(PAGES)/index.html from nothing"
	@echo "make pdf      print the whole book to _build/pdf; needs Chromium"
	@echo "make colab    write the chapters as plain notebooks, for Colab and other front ends, to _build/colab"
	@echo "make test     check everything: code, types, package, pages, and every output of every chapter"
	@echo "make lint     check and format-check code and notebooks"
	@echo "make execute  run every chapter from scratch and write its outputs"
	@echo "make settings run the chapters as other machines, seeds and versions would, and record margins and digits"
	@echo "make stills   draw the still pictures of the figures that move, and the README's; needs Chromium"
	@echo "make mutants  plant faults in the package one at a time, and name those that no test notices (hours)"
	@echo "make bench    time training steps against each other, on an idle machine, and store the ratios"
	@echo "make long     run what holds only after long training, and store its tables"
	@echo "make rehearse publish the present commit on this machine: the steps of the workflow, with local stand-ins"
	@echo "make lock     write requirements.txt from pyproject.toml (LOCK=--upgrade: newest versions)"
	@echo "make clean    remove what make made: $(VENV), _build and the tools' caches"

# --- the environment -------------------------------------------------------------------------------------------------

# The first interpreter that is new enough, is not too new for TensorFlow, and can make environments.
SUITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

$(INSTALLED): requirements.txt pyproject.toml
	@set -eu; suitable=; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	  if "$$candidate" -c "$(SUITS)" >/dev/null 2>&1; then suitable=$$candidate; break; fi; \
	done; \
	if [ -z "$$suitable" ]; then \
	  echo "No suitable Python: need 3.11, 3.12 or 3.13 with venv and ensurepip (Debian: python3-venv)." >&2; \
	  echo "Tried: $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python). Set PYTHON=/path/to/python." >&2; \
	  exit 1; \
	fi; \
	set -x; \
	"$$suitable" -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet -r requirements.txt; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# --- the book --------------------------------------------------------------------------------------------------------

# Always --all: an incremental build passes -W falsely.
book: $(INSTALLED)
	$(BIN)/jupyter-book build -W -n --keep-going --all .
	@echo
	@echo "The book is at $(CURDIR)/$(PAGES)/index.html: open it in a browser."

pdf: book
	$(BIN)/python -m book.editions.pdf

colab: $(INSTALLED)
	$(BIN)/jupyter-book build -W -n --keep-going --all --builder custom --custom-builder colab .
	@echo
	@echo "The notebooks are below $(CURDIR)/_build/colab/chapters."

execute: $(INSTALLED)
	$(BIN)/python -m book.runs.execute

# Other processors, disturbed weights, other seeds, and, when named, other versions; only what the record lacks.
# `make settings SETTINGS="avx2 seeds" CHAPTERS="toy limits" AGAIN=1`: any subset, and also what was run before.
settings: $(INSTALLED)
	$(BIN)/python -m book.runs.settings --settings $(SETTINGS) --chapters $(CHAPTERS) $(if $(AGAIN),--again)

# Each figure that moves draws its own still picture. A test tells when one is old.
stills: $(INSTALLED)
	$(BIN)/python -m book.figures
	$(BIN)/python -m book.figures.animate

# `make mutants ONLY="simulators heat"`: the faults that hold all these words.
mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants $(ONLY)

# Ratios within one run; no test asserts them.
bench: $(INSTALLED)
	$(BIN)/python -m book.runs.bench

# What .github/workflows/publish.yml runs, against a bare repository and a web server of this machine; some minutes.
rehearse: $(INSTALLED)
	$(BIN)/python -m book.checks.rehearse

# Steps are fixed, so the machine may be busy. Some ten minutes; for fields half an hour a problem, for exponents as
# much on the oscillators and more on Poisson.
long: $(INSTALLED)
	$(BIN)/python -m book.runs.long
	$(BIN)/python -m book.runs.long_fields
	$(BIN)/python -m book.runs.long_exponents
	$(BIN)/python -m book.runs.long_exponents_fields

# --- the checks ------------------------------------------------------------------------------------------------------

test: lint types test-package test-book test-chapters
	@echo
	@echo "Everything was checked."

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

test-package: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 tests/package

test-book: $(INSTALLED) book colab
	$(BIN)/python -m pytest -n 2 tests/book

# One worker per notebook: its cells share a kernel.
test-chapters: $(INSTALLED)
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 300 -p book.checks.nbval_tolerance \
	  -n 2 --dist loadfile chapters/

# --- the lock --------------------------------------------------------------------------------------------------------

# Keeps the versions that still fit; LOCK=--upgrade takes the newest.
lock: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --group lock --extra book --extra test --universal --python-version 3.11 \
	  --fork-strategy fewest --custom-compile-command "make lock" --quiet --output-file requirements.txt $(LOCK)

clean:
	rm -rf $(VENV) _build .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find book chapters physgrad_tf tests -name __pycache__ -prune -exec rm -rf {} +
