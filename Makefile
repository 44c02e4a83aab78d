# make train    the environment, then lenet5 on the embedded digits
# make test     the environment, then the tests
# make lint     format, lint and type checks
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint clean
train: $(BIN)/.installed
	$(BIN)/zoo train

test: $(BIN)/.installed
	$(BIN)/pytest

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv takes seconds where pip takes minutes.
$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
