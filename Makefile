# Every target makes .venv and installs what it needs.
PY := .venv/bin/python
PYTHON ?= python3
CODE := src tests benchmarks bench conftest.py

.PHONY: demo test check slow fix docs bench bench-methods minibench analysis mutants clean

# torch comes first and at a version that has a CPU build everywhere; the package allows a range.
.venv/.dev: pyproject.toml bench/pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet torch==2.13.0
	$(PY) -m pip install --quiet --editable '.[dev]' --editable './bench[dev]'
	touch $@

demo: .venv/.dev
	$(PY) bench/demo/run.py --out demo

test: .venv/.dev
	$(PY) -m pytest -n 2

check: .venv/.dev
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m ruff check $(CODE)
	$(PY) -m mypy

slow: .venv/.dev
	$(PY) -m pytest -n 2 -m slow

fix: .venv/.dev
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)

docs: .venv/.dev
	.venv/bin/robustmerge methods --markdown > docs/methods.md

bench: .venv/.dev
	$(PY) benchmarks/merge.py

bench-methods: .venv/.dev
	$(PY) benchmarks/methods.py

# make minibench ROOT=trained OUT=results; without ROOT the document alone, from the raw results
minibench: .venv/.dev
	$(PY) bench/documents/minibench.py $(ROOT) $(if $(OUT),--out $(OUT)) $(ARGS)

# make analysis ARGS=--again; without it the document alone, from its results
analysis: .venv/.dev
	$(PY) bench/documents/analysis.py $(ARGS)

mutants: .venv/.dev
	$(PY) tests/mutants/run.py

clean:
	rm -rf .venv demo
