# make train    the environment, then lenet5 on the embedded digits
# make test     the environment, then the tests
# make lint     format, lint and type checks
# make lowest   the fast tests on the lowest versions that pyproject.toml declares
# make audit    known vulnerabilities of the pinned versions; asks the Python package index
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint lowest audit clean
train: $(BIN)/.installed
	$(BIN)/zoo train

test: $(BIN)/.installed
	$(BIN)/pytest

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Warnings are no errors here: old libraries give many.
lowest: $(BIN)/.installed
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[dev]'
	.venv-lowest/bin/pytest -m "not slow and not notebooks and not mnist and not gpu" -o filterwarnings=default

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
