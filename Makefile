PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find conaclip_edge -type f -not -path '*/__pycache__/*')

FUZZ_SECONDS ?= 600

.PHONY: demo test lint types fuzz screenshots clean

# torch is pinned first, so that pip takes the CPU build where one is at hand
$(VENV)/.dependencies: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet '.[test]'
	touch $@

# the built wheel is what runs and what is tested, never the source folder
$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES) README.md
	rm -rf build
	$(BIN)/python -m build --wheel --outdir build/wheel > build.log 2>&1 || (cat build.log; exit 1)
	rm build.log
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	touch $@

demo: $(VENV)/.installed
	$(BIN)/conaclip-edge demo

lint: $(VENV)/.dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dependencies
	$(BIN)/mypy

test: lint types $(VENV)/.installed
	$(BIN)/python -Im pytest -n 2

# of every parser, in processes of their own; what it finds stays in tests/security/corpus
fuzz: $(VENV)/.dependencies
	$(BIN)/python -m pip install --quiet '.[fuzz]'
	$(BIN)/python tests/security/fuzz.py --seconds $(FUZZ_SECONDS)

# of docs/search.md, with the demo's bundle
screenshots: $(VENV)/.installed
	$(BIN)/python -I tests/web/screenshots.py runs/demo/bundle

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
