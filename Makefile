# Every target makes its virtual environment and installs what it needs, in the exact versions of
# constraints.txt. PYTHON is the interpreter: `make test PYTHON=python3.12 VENV=.venv-3.12`.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PY := $(VENV)/bin/python
CODE := src tests benchmarks bench conftest.py
# What a build needs, installed beforehand so that it is pinned as well.
BUILD := 'pip>=25' 'hatchling>=1.27' 'editables>=0.5'

.PHONY: demo test check slow fix lock newest lowest dist docs site bench bench-methods minibench \
	analysis clients cluster gpu mutants fuzz kinds clean

$(VENV)/.dev: $(CONSTRAINTS) pyproject.toml bench/pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --upgrade $(BUILD)
	$(PY) -m pip install --quiet --constraint $(CONSTRAINTS) --no-build-isolation \
		--editable '.[dev]' --editable './bench[dev]'
	touch $@

demo: $(VENV)/.dev
	$(PY) bench/demo/run.py --out demo

test: $(VENV)/.dev
	$(PY) -m pytest -n 2

check: $(VENV)/.dev
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m ruff check $(CODE)
	$(PY) -m mypy

slow: $(VENV)/.dev
	$(PY) -m pytest -n 2 -m slow

fix: $(VENV)/.dev
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)

# torch stays at a release that has a CPU build for every machine; everything else is the newest.
RESOLVE = printf '%s\n' $(1) $(BUILD) '-e .[dev,ray]' '-e ./bench[dev]' | $(PY) -m uv pip compile - --quiet \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	--no-emit-package robustmerge --no-emit-package robustmerge-bench --output-file

# Refresh constraints.txt: the newest versions that go together, for every Python from 3.10.
lock: $(VENV)/.dev
	$(call RESOLVE,torch==2.13.0) constraints.txt --upgrade --universal --python-version 3.10

# The same tests on the newest releases there are. TORCH=torch==2.13.0 spares the CUDA builds.
TORCH ?= torch
newest: $(VENV)/.dev
	rm -rf .venv-newest
	$(call RESOLVE,$(TORCH)) .venv-newest.txt --upgrade
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=.venv-newest.txt

# The same tests on the lowest versions that pyproject.toml allows.
lowest: $(VENV)/.dev
	rm -rf .venv-lowest
	$(call RESOLVE) .venv-lowest.txt --resolution lowest-direct
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=.venv-lowest.txt

# Wheels and source packages of both distributions, with their metadata checked.
dist: $(VENV)/.dev
	rm -rf dist
	$(PY) -m build --no-isolation --outdir dist .
	$(PY) -m build --no-isolation --outdir dist bench
	$(PY) -m twine check --strict dist/*

docs: $(VENV)/.dev
	$(VENV)/bin/robustmerge methods --markdown > docs/methods.md

# The documentation site, with the reference of the Python functions.
site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: $(VENV)/.dev
	$(PY) benchmarks/merge.py

# All of docs/costs.md: whole deltas, 70B, then every method; about an hour on two idle cores.
bench-methods: $(VENV)/.dev
	$(PY) benchmarks/delta.py
	$(PY) benchmarks/llama70b.py
	$(PY) benchmarks/methods.py

# make minibench ROOT=trained OUT=results; without ROOT the document alone, from the raw results
minibench: $(VENV)/.dev
	$(PY) bench/documents/minibench.py $(ROOT) $(if $(OUT),--out $(OUT)) $(ARGS)

# make analysis ARGS=--again; without it the document alone, from its results
analysis: $(VENV)/.dev
	$(PY) bench/documents/analysis.py $(ARGS)

# The programs that load adapters, each in an environment under .clients; writes docs/clients.md.
clients: $(VENV)/.dev
	$(PY) -m pytest -q -m clients tests/clients
	PYTHONPATH=tests $(PY) -m clients.matrix

# Runs on a Ray cluster of two nodes, both on this machine, in an environment with Ray.
cluster:
	$(MAKE) .venv-cluster/.dev VENV=.venv-cluster
	.venv-cluster/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) \
		--no-build-isolation --editable '.[ray]'
	.venv-cluster/bin/python -m pytest -q -m cluster bench/tests

# On a machine with a GPU, in 10 minutes: what runs on it equals what the CPU gives, and what it takes.
# Tests of a GPU fail where there is none. make gpu GPU_ARGS="--device cpu --tiny" tries the script.
gpu: $(VENV)/.dev
	$(if $(GPU_ARGS),,$(PY) -m pytest -q -m gpu tests/gpu bench/tests/mini/test_gpu.py)
	$(PY) benchmarks/gpu.py $(GPU_ARGS)

# Two minutes of damaged inputs: make fuzz ARGS="--seconds 600 --kind bin --seed 1000"
fuzz: $(VENV)/.dev
	$(PY) tests/fuzz/run.py $(ARGS)

# How many cases tests/field has of each kind of fault.
kinds: $(VENV)/.dev
	PYTHONPATH=tests $(PY) -m field.kinds

mutants: $(VENV)/.dev
	$(PY) tests/mutants/run.py

clean:
	rm -rf .clients .venv .venv-cluster .venv-newest .venv-lowest .venv-newest.txt .venv-lowest.txt dist site demo
