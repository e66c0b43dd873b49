# `make test` works on a clean checkout: it makes .venv first. PYTHON picks the interpreter, VENV another place.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.perdure-dev
TYPESCRIPT := tests/typescript/node_modules/.perdure-built

.PHONY: test lint types crash bench demo format clean

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

# The official TypeScript SDK, from the npm registry; Node comes with a wheel.
$(TYPESCRIPT): $(READY) tests/typescript/package-lock.json $(wildcard tests/typescript/src/*.ts)
	$(BIN)/python tests/typescript/build.py
	touch $(TYPESCRIPT)

test: $(READY) $(TYPESCRIPT)
	$(BIN)/python -m pytest $(TESTS)

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# The long tier: at least 100 kill -9 over a mixed load, and whatever else takes minutes.
crash: $(READY)
	$(BIN)/python -m pytest -m long --timeout 1800 $(TESTS)

bench: $(READY)
	$(BIN)/perdure bench floor hello chain fanout hello-beside-cpu signals sleepers recovery replay import

demo: $(READY)
	$(BIN)/perdure demo

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
