# Everything a developer does. Needs Python >= 3.10 and make; the rest goes into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
INSTALLED := $(VENV)/.installed
SYSTEM := $(VENV)/.system
EXTENSION := editor-extension
VSIX := dist/colab-devsync.vsix
NPM := PATH="$(CURDIR)/.cache/node/bin:$$PATH" npm --prefix $(EXTENSION) --silent
SOURCES := colab_devsync tests bench scripts
WORKERS ?= 3
ARGS ?=

.PHONY: help install demo test unit lint format types bench bench-gate e2e docs lock wheel \
  extension vscode clean

help: ## show this list
	@echo "colab-devsync: make TARGET [ARGS='...']"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) \
	  | awk -F'|' '{ printf "%-14s%s\n", $$1, $$2 }'

install: $(INSTALLED) ## make .venv with the package and the pinned tools

$(PY):
	@sh scripts/make-venv.sh $(VENV)

# Installs exactly what the lock names, then the package itself on top of it.
$(INSTALLED): requirements-dev.lock pyproject.toml | $(PY)
	$(PY) -m pip install --quiet --requirement requirements-dev.lock
	$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

$(SYSTEM): scripts/install-system-deps.sh scripts/install-editors.sh tests/lsp4j/pom.xml | $(PY)
	@sh scripts/install-system-deps.sh
	@sh scripts/install-editors.sh $(PY)
	@touch $@

demo: $(INSTALLED) ## the main job against the embedded sandbox, no network needed
	$(BIN)/colab-devsync demo $(ARGS)

# The extension, packed. Its sources are TypeScript, so it is checked before it is bundled.
$(EXTENSION)/node_modules/.package-lock.json: $(EXTENSION)/package-lock.json scripts/install-node.sh | $(PY)
	@sh scripts/install-node.sh
	$(NPM) ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(VSIX): $(EXTENSION)/node_modules/.package-lock.json $(wildcard $(EXTENSION)/src/* \
  $(EXTENSION)/media/* $(EXTENSION)/*.json $(EXTENSION)/*.mjs $(EXTENSION)/*.md) \
  colab_devsync/colabremote.schema.json
	@mkdir -p dist
	$(NPM) run check
	$(NPM) run bundle
	$(NPM) run package

extension: $(VSIX) ## check, bundle and pack the VS Code extension (dist/*.vsix)

# Where it cannot be installed, its tests are skipped; in CI that is an error.
vscode: $(INSTALLED) $(VSIX) ## a real VS Code in a browser, for the tests
	@sh scripts/install-vscode.sh || [ "$${CI:-}" != true ]

test: $(INSTALLED) $(SYSTEM) vscode ## all tests, against the sandbox and a real sshd
	$(PY) -m pytest -n $(WORKERS) $(ARGS)

unit: $(INSTALLED) ## only the tests that need no process and no network
	$(PY) -m pytest tests/unit $(ARGS)

e2e: $(INSTALLED) $(SYSTEM) vscode ## only the end-to-end tests
	$(PY) -m pytest tests/e2e tests/vscode $(ARGS)

lint: $(INSTALLED) ## style, layers, generated pages
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports
	$(PY) scripts/gen_docs.py --check

format: $(INSTALLED) ## put the code into its one style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: $(INSTALLED) ## mypy --strict for Linux, Windows and macOS
	$(BIN)/mypy --platform linux --cache-dir .mypy_cache/linux -p colab_devsync -p bench
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

bench: $(INSTALLED) $(SYSTEM) ## the table of measurements (ARGS='--quick --rtt 50')
	@sh scripts/install-system-deps.sh bench
	$(PY) -m bench $(ARGS)

bench-gate: $(INSTALLED) $(SYSTEM) ## round trips, bytes and memory; fails when over
	$(PY) -m bench --gate $(ARGS)

docs: $(INSTALLED) ## rewrite the generated pages and the JSON Schema
	$(PY) scripts/gen_docs.py

wheel: $(INSTALLED) ## build the wheel into dist/
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist .

lock: | $(PY) ## choose new versions of everything in requirements-dev.lock
	$(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile --quiet --universal --python-version 3.10 --upgrade \
	  --no-annotate --custom-compile-command "make lock" --group dev pyproject.toml \
	  --output-file requirements-dev.lock

clean: ## remove everything that was made here
	rm -rf $(VENV) .cache build dist $(EXTENSION)/node_modules $(EXTENSION)/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache bench/results/latest.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
