# make train      create the environment, train LeNet-5 on the digits dataset of scikit-learn
# make test       create the environment, run the fast tests
# make test-all   all tests, including multi-process runs, kill -9, full recipes and notebooks
# make lint       formatter, linter, type checker
# make docs       build the documentation site in build/site (also: make site); runs the notebooks, once for each change
# make docs-outputs   run the commands in docs/ again and write their output
# make release    build, check and try out both distributions; uploads nothing
# make lowest     the fast tests with the lowest versions that pyproject.toml declares
# make audit      known vulnerabilities of the pinned versions; queries the Python package index
PYTHON ?= python3
BIN := .venv/bin
FAST := not slow and not notebooks

.PHONY: train test test-all lint docs site docs-outputs release lowest audit clean
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
	$(BIN)/mkdocs build --strict

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
