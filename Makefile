# Everything from nothing: `make demo` and `make test` set themselves up in .venv first.
PYTHON ?= python3
CORES ?= all
# More words for every `pip install`, such as an index that serves torch without CUDA.
PIP_ARGS ?=
# What `make check-reference` compares and `make reference` keeps, and the command that made it.
RESULTS ?= results
COMMAND ?=
# A folder of wheels (`make wheelhouse`) to install from, and from nowhere else.
WHEELHOUSE ?=
EXTRAS := workflow,cluster,dev,docs

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# The rules call plain `python`, so the environment's comes first on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Material for MkDocs would say at every start that it is maintained until May 2027; its successor reads the same mkdocs.yml.
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help venv wheelhouse demo test test-cluster test-wheelhouse check docs schema check-reference reference ship-networks clean

help:
	@echo "make demo    simulate, reconstruct, train, adapt, evaluate; Table 1 and all figures in results/"
	@echo "make test    run the tests"
	@echo "make check   linters, formatters, types, the documentation"
	@echo "make docs    build the documentation in build/site, offline; any warning is an error"
	@echo "make venv    only make the environment .venv; then: . .venv/bin/activate && snakemake -n"
	@echo "make schema  write workflow/schemas/config.schema.json anew after a change of scripts/tgdpet/config/sections.py"
	@echo "make check-reference  compare RESULTS=folder with results/reference, within intervals"
	@echo "make reference        keep RESULTS=folder, made by COMMAND='...', as results/reference"
	@echo "make ship-networks    make networks of RESULTS=folder those that come with the package"
	@echo "make wheelhouse       download every wheel once; then elsewhere, offline: make venv WHEELHOUSE=wheelhouse"
	@echo "make test-cluster     run on a one-node SLURM and interrupt it in every way (as root, with slurm-wlm and munge)"
	@echo "make test-wheelhouse  make a wheelhouse, and install from it with the network cut off"
	@echo "make clean   remove .venv, caches and results/, but not results/reference"
	@echo "Options: CORES=4  PYTHON=python3.12  PIP_ARGS='--extra-index-url ...'"

venv: $(STAMP)

$(STAMP): envs/constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: $(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: $(PYTHON) cannot make an environment (Debian and Ubuntu: install python3-venv)" >&2; exit 1; }
	@echo "Installing the pinned packages into $(VENV), once: minutes (PIP_ARGS=-vv shows the progress)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) \
	  $(if $(WHEELHOUSE),--no-index --find-links '$(abspath $(WHEELHOUSE))') -c envs/constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

# By an environment of its own, as the system's python may lack pip; setuptools builds the package there.
wheelhouse:
	@$(PYTHON) -m venv build/wheelhouse-venv
	@echo "Collecting the pinned wheels in wheelhouse/: minutes"
	@build/wheelhouse-venv/bin/python -m pip wheel -qq --disable-pip-version-check $(PIP_ARGS) --wheel-dir wheelhouse \
	  -c envs/constraints.txt '.[$(EXTRAS)]' setuptools
	@rm -rf build/wheelhouse-venv wheelhouse/tgdpet-*.whl
	@du -sh wheelhouse

demo: venv
	@python scripts/run_alone.py snakemake --cores $(CORES) --quiet rules
	@python scripts/10_summary.py

test: venv
	python -m pytest -q -n logical --maxprocesses 8 --dist loadgroup

test-cluster: venv
	python -m pytest -q -s -rs tests/cluster

test-wheelhouse:
	tests/cluster/wheelhouse.sh

check: venv
	ruff check scripts tests benchmarks examples docs
	ruff format --check scripts tests benchmarks examples docs
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	mkdocs build --quiet --strict

docs: venv
	mkdocs build --strict
	@echo "Open build/site/index.html"

schema: venv
	python -m tgdpet.config.sections > workflow/schemas/config.schema.json

check-reference: venv
	@python scripts/11_check_reference.py --results '$(RESULTS)'

reference: venv
	@python scripts/11_check_reference.py --results '$(RESULTS)' --write --command '$(COMMAND)'

ship-networks: venv
	@python scripts/12_ship_networks.py --results '$(RESULTS)'

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache build wheelhouse scripts/*.egg-info
	@[ ! -d results ] || find results/ -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
	find scripts tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
