# make train      create the environment, train LeNet-5 on the digits dataset of scikit-learn
# make test       create the environment, run the fast tests
# make test-all   all tests, including multi-process runs, kill -9, full recipes and notebooks
# make lint       formatter, linter, type checker
# make docs       build the documentation site in build/site (also: make site); runs the notebooks, once for each change
# make docs-outputs   run the commands in docs/ again and write their output
# make release    build, check and try out both distributions; uploads nothing
# make lowest     the fast tests with the lowest versions that pyproject.toml declares
# make bench      time the commands against other programs and write BENCHMARKS.md, hours; QUICK=1 rehearses in minutes
# make gpu        the tests marked gpu, then the benchmark of a GPU, which is added to BENCHMARKS.md; ten minutes
# make audit      known vulnerabilities of the pinned versions; queries the Python package index
PYTHON ?= python3
BIN := .venv/bin
FAST := not slow and not notebooks

.PHONY: train test test-all lint docs site docs-outputs release lowest bench gpu wheels audit clean
train: $(BIN)/.installed
	$(BIN)/zoo train

test: $(BIN)/.installed
	$(BIN)/pytest -m "$(FAST)"

test-all: $(BIN)/.installed
	$(BIN)/pytest

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs site: $(BIN)/.installed
	$(BIN)/python -m zoo.release.notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-outputs: $(BIN)/.installed
	$(BIN)/python tests/documents.py

release: $(BIN)/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m zoo.release.distribution dist

# Warnings are not errors here: old libraries give many.
lowest: $(BIN)/.installed
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/pytest -m "$(FAST) and not mnist and not gpu" -o filterwarnings=default

# Without learnergy, its line is left out.
bench: $(BIN)/.installed
	-$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[bench]' --constraint constraints.txt
	$(BIN)/python benchmarks/run_all.py $(if $(QUICK),--quick)

# On a machine without network: make gpu WHEELS=FOLDER takes the PyTorch of PYTHON, and missing packages from the folder.
# DEVICE=cpu QUICK=1 TEST_SECONDS=3600 rehearses without a GPU. The benchmark runs even if a test fails, and then the tests decide.
DEVICE ?= cuda
JOBS ?= 8
TEST_SECONDS ?= 330
GPU_PYTHON := $(if $(WHEELS),$(PYTHON),$(BIN)/python)
gpu: export PYTHONPATH := $(CURDIR):$(CURDIR)/build/wheels
gpu: export DEVICE := $(DEVICE)
gpu: export TORCHINDUCTOR_COMPILE_THREADS := 1
gpu: $(if $(WHEELS),wheels,$(BIN)/.installed)
	status=0; \
	timeout $(TEST_SECONDS) $(GPU_PYTHON) -m pytest -m gpu -n $(JOBS) -o filterwarnings=default $$(grep -rl mark.gpu tests --include=*.py) \
		|| status=$$?; \
	$(GPU_PYTHON) benchmarks/gpu.py --rounds 5 --minutes 3 $(if $(QUICK),--quick) && exit $$status

wheels:
	$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target build/wheels $(WHEELS)/*.whl

audit: $(BIN)/.installed
	$(BIN)/uv tool run pip-audit --requirement constraints.txt --no-deps --disable-pip

# uv takes seconds where pip takes minutes.
$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist .pytest_cache .mypy_cache .ruff_cache
