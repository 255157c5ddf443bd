# make install | demo | test | up | bench | faults | docs | audit-lock; each installs what it needs first.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test types suite up bench faults docs lock audit-lock clean

install: $(STAMP)

# The lock pins every version; the project itself is installed in place, without asking for anything else.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: $(PYTHON) is not on the PATH (set PYTHON=… )" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages of requirements.lock into $(VENV) …"
	@# Python compiles a module when it is first imported; compiling all of them here takes as long as the rest
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: install
	@$(BIN)/mltrainer demo

up: install
	@$(BIN)/mltrainer up

test: install
	@# the pages are walked in a browser; continuous integration brings it along, elsewhere these tests are skipped without it
	@test -x /usr/bin/chromium || test -z "$$CI" || test "$$(id -u)" != 0 || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# the tests often wait for servers to start; the types are checked meanwhile
	@$(MAKE) --no-print-directory --jobs 2 types suite

types:
	$(BIN)/mypy
	$(BIN)/lint-imports
	@# every package that is imported is declared, and what only tests use is no dependency of the package
	$(BIN)/deptry mltrainer_pipelines
	$(BIN)/deptry mltrainer_pipelines_tests benchmarks docs --ignore DEP002,DEP004
	$(BIN)/dagster definitions validate --log-level warning

suite:
	$(BIN)/pytest --numprocesses 2 --dist worksteal --durations 15

bench: install
	@$(BIN)/mltrainer bench

# Faults of every kind, tried many times; the table goes into docs/reliability.md.
faults: install
	@$(BIN)/python -m benchmarks.faults

# Write the pages of docs/ that are made of declarations: features.md, models.md and tables.md.
docs: install
	@$(BIN)/python -m docs.build

# Write the lock anew from pyproject.toml. torch is pinned there to the build that needs no CUDA packages.
lock: pyproject.toml
	$(BIN)/python -m piptools compile --quiet --extra dev --extra scale --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --no-header \
		--output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[^+]*\)+.*/\1/' requirements.lock

# Known weaknesses of the packages in the lock, asked of PyPI; pip-audit has an environment of its own.
audit-lock:
	@test -x $(VENV)/audit/bin/pip-audit || \
		{ $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1; }
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

clean:
	rm -rf $(VENV) .mltrainer
