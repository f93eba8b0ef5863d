# Everything from nothing: `make demo` and `make test` set themselves up in .venv first.
PYTHON ?= python3
CORES ?= all
# More words for every `pip install`, such as an index that serves torch without CUDA.
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# The rules call plain `python`, so the environment's comes first on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help venv demo test check schema clean

help:
	@echo "make demo    simulate, reconstruct, train, adapt, evaluate; Table 1 and all figures in results/"
	@echo "make test    run the tests"
	@echo "make check   linters, formatters, types"
	@echo "make venv    only make the environment .venv; then: . .venv/bin/activate && snakemake -n"
	@echo "make schema  write workflow/schemas/config.schema.json anew after a change of scripts/tgdpet/config.py"
	@echo "make clean   remove .venv, caches and results/"
	@echo "Options: CORES=4  PYTHON=python3.12  PIP_ARGS='--extra-index-url ...'"

venv: $(STAMP)

$(STAMP): envs/constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: $(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: $(PYTHON) cannot make an environment (Debian and Ubuntu: install python3-venv)" >&2; exit 1; }
	@echo "Installing the pinned packages into $(VENV), once: minutes (PIP_ARGS=-vv shows the progress)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c envs/constraints.txt -e '.[workflow,dev]'
	@touch $@

demo: venv
	@python scripts/run_alone.py snakemake --cores $(CORES) --quiet rules
	@python scripts/10_summary.py

test: venv
	python -m pytest -q

check: venv
	ruff check scripts tests benchmarks examples
	ruff format --check scripts tests benchmarks examples
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

schema: venv
	python -m tgdpet.config > workflow/schemas/config.schema.json

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache build scripts/*.egg-info results
	find scripts tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
