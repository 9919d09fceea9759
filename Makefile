PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find conaclip_edge -type f -not -path '*/__pycache__/*')

FUZZ_SECONDS ?= 600

.PHONY: demo test lint types docs crash fuzz audit lock screenshots clean

# torch is pinned first, so that pip takes the CPU build where one is at hand
$(VENV)/.dependencies: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt '.[test]'
	touch $@

# the built wheel is what runs and what is tested, never the source folder
$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES) README.md
	rm -rf build
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m build --wheel --outdir build/wheel > build.log 2>&1 || (cat build.log; exit 1)
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
	$(BIN)/python -Im pytest -n 2 --dist worksteal --durations=20

# the documentation site, in build/site; a broken link is an error
docs: $(VENV)/.dependencies
	$(BIN)/zensical build --strict

# two hundred commands that are killed, terminated or run out of disk, and end as if nothing had happened
crash: $(VENV)/.installed
	$(BIN)/python -m tests.crash.accidents --runs 200

# known holes in the pinned packages; asks a database on the network
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet -c constraints.txt 'pip-audit==2.10.1'
	build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

# the newest versions within the bounds of pyproject.toml, to be tested before they are committed
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet torch==2.13.0 '.[test,fuzz,open-clip,remote]'
	head -1 constraints.txt > build/constraints.txt
	build/lock/bin/python -m pip freeze --all | grep -v '^conaclip-edge' | sed 's/+[a-z0-9.]*$$//' | sort -f >> build/constraints.txt
	mv build/constraints.txt constraints.txt

# of every parser, in processes of their own; what it finds stays in tests/security/corpus
fuzz: $(VENV)/.dependencies
	$(BIN)/python -m pip install --quiet -c constraints.txt '.[fuzz]'
	$(BIN)/python -m tests.security.fuzz --seconds $(FUZZ_SECONDS)

# of docs/guides/search.md, with the demo's bundle
screenshots: $(VENV)/.installed
	$(BIN)/python -m tests.tools.screenshots runs/demo/bundle

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
