# `make compare` is the main job. `make test`, `make test-all`, the tests that take long, and `make lint` are
# what continuous integration runs, and `make docs`, which builds the site in docs/_build/html and, where
# a Chromium is installed, opens some of its pages in it.
# Each makes the virtual environment .venv itself where it is missing. PYTHON: 3.11 to 3.13.
PYTHON ?= python3
# WORKERS: processes of the tests, which share compiled programs and keep them (see tests/conftest.py).
WORKERS ?= 2
# QUICK: flags with which XLA compiles `make test` in a third of the time. The programs are the same and run a
# little slower; `make test QUICK=`, and what is marked `long`, compile as users do.
QUICK ?= --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: compare test test-all interop lint docs speed report accelerator matrix dist paper paper-full figures clean

compare: .venv/run
	$(BIN)/eft compare --preset paper --out results/compare --overwrite

test: .venv/test
	XLA_FLAGS="$(XLA_FLAGS) $(QUICK)" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-all: .venv/test
	XLA_FLAGS="$(XLA_FLAGS) $(QUICK)" $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile -m 'more and not long'
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile -m long

# With the other frameworks, on the CPU, in an environment of its own; before a release.
interop: .venv-interop/test
	CUDA_VISIBLE_DEVICES= JAX_PLATFORMS=cpu .venv-interop/bin/python -m pytest tests/interop

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/docs
	$(BIN)/python -m sphinx -q -W -E -b html docs docs/_build/html
	$(BIN)/python docs/site/pages.py docs/_build/html

speed: .venv/test
	for script in benchmarks/speed/[!_]*.py; do $(BIN)/python $$script || exit 1; done

# The speed benchmarks, five processes each, as a table: docs/speed.md.
report: .venv/test
	$(BIN)/python benchmarks/report.py

# The quick tests with the lowest and the newest versions of what this depends on.
matrix: .venv/release
	$(BIN)/python tests/matrix.py

# Source and wheel, in dist/; the wheel is installed in an environment of its own, outside this folder, and used.
dist: .venv/release
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv --clear .venv-dist
	.venv-dist/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd / && $(CURDIR)/.venv-dist/bin/eft compare --depth 3 --width 32 --nets 100

# Where there is an accelerator: its speed, then the paper's experiments at full size. Needs a jax that sees it,
# `make accelerator JAX='jax[cuda13]'` for one; SMALL=--small tries it where there is none.
# The figures are redrawn by `make figures`.
accelerator: .venv/test
	test -z "$(JAX)" || $(INSTALL) '$(JAX)'
	$(BIN)/python benchmarks/speed/accelerator.py $(SMALL)
	$(MAKE) paper$(if $(SMALL),,-full)

paper: .venv/run
	for script in benchmarks/paper/r*_*.py; do $(BIN)/python $$script --quick || exit 1; done

paper-full: .venv/run
	for script in benchmarks/paper/r*_*.py; do $(BIN)/python $$script || exit 1; done

# The figures of docs/paper, from what `make paper-full` kept in results/.
figures: .venv/run
	$(BIN)/python benchmarks/paper/redraw.py

.venv/run: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/test: .venv/run
	$(INSTALL) --editable '.[test]'
	touch $@

.venv/docs: .venv/run
	$(INSTALL) --editable '.[docs]'
	touch $@

.venv/release: .venv/run
	$(INSTALL) --editable '.[release]'
	touch $@

.venv-interop/test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[test,interop]'
	touch $@

clean:
	rm -rf .venv .venv-interop .venv-matrix .venv-dist dist results docs/_build docs/api docs/notebooks docs/site/cards
