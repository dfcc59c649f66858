# Keyside: `make run` sets up and starts the server, `make test` sets up and runs every test.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
JS := executor_js
# The companion is what the build writes last.
PAGE := server/keyside/static/companion/keyside-executor.mjs
PAGE_SOURCES := $(shell find $(JS)/src $(JS)/page 2>/dev/null) \
	$(wildcard $(JS)/*.config.ts $(JS)/tsconfig*.json)
NPM_INSTALLED := $(JS)/node_modules/.package-lock.json

# Options for `keyside serve`, for pytest, and for vitest.
ARGS ?=
TESTFLAGS ?=
VITESTFLAGS ?=
# make lock UPGRADE=1 takes the newest versions that pyproject.toml and package.json allow.
UPGRADE ?=
# How many schedules `make chaos` plays, from which seed on, and how many at the same time.
N ?= 60
SEED ?= 1
JOBS ?= 4

.PHONY: help setup run dev test check audit fix schema chaos soak bench lock clean browser

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.keyside $(PAGE) ## everything that is needed to run: .venv, node_modules, the page

run: setup ## set up and start the server; ARGS="--port 9000" goes to `keyside serve`
	@exec $(BIN)/keyside serve $(ARGS)

dev: setup ## the server, and the page from its sources, reloaded as they change
	@trap 'kill $$(jobs -p) 2>/dev/null || true' EXIT; \
	(cd $(JS) && exec node_modules/.bin/vite) & \
	KEYSIDE_PUBLIC_URL=http://127.0.0.1:5173 $(BIN)/keyside serve --port 8000 $(ARGS) & \
	wait -n

test: setup browser ## every test: pytest, then vitest
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=10 $(TESTFLAGS)
	cd $(JS) && npm test -- $(VITESTFLAGS)

browser: $(VENV)/.keyside
	@echo "Browser: $$($(BIN)/python -m tests.browser.chromium)"

check: setup ## style, types, import rules, generated files, and known vulnerabilities
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd $(JS) && npm run check
	$(BIN)/keyside schema --check
	@$(BIN)/python -m tests.audit

audit: setup ## look for known vulnerabilities of what Keyside runs on; a part of `make check`
	$(BIN)/python -m tests.audit

fix: setup ## put right what the tools can put right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cd $(JS) && npm run fix

schema: setup ## write the JSON Schema and the TypeScript types again
	$(BIN)/keyside schema

chaos: setup ## throw faults at everything: N schedules from SEED on, JOBS at the same time
	$(BIN)/python -m tests.chaos --n $(N) --seed $(SEED) --jobs $(JOBS)

soak: setup ## what takes too long for `make test`: ten minutes of nonsense at every door, and more chaos
	$(BIN)/python -m tests.fuzz.doors --seconds 600 --seed $(SEED)
	$(BIN)/python -m tests.chaos --n 200 --seed $(SEED) --jobs $(JOBS)

bench: setup ## measure; see tests/benchmarks
	$(BIN)/python -m tests.benchmarks

lock: ## write both lock files again; UPGRADE=1 takes newer versions
	@$(FIND_PYTHON); \
	tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	"$$python" -m venv "$$tools"; \
	"$$tools/bin/pip" install --quiet --disable-pip-version-check uv; \
	env -u UV_FIND_LINKS -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL \
		"$$tools/bin/uv" pip compile pyproject.toml --quiet --no-config --universal --python-version 3.11 \
		--all-extras --generate-hashes --no-header --no-annotate --no-emit-index-url \
		$(if $(UPGRADE),--upgrade) --output-file requirements.lock
	@# Away from node_modules: next to them npm forgets the packages of other platforms.
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	cp $(JS)/package.json $(JS)/.npmrc $(if $(UPGRADE),,$$(ls $(JS)/package-lock.json 2>/dev/null)) "$$scratch"; \
	(cd "$$scratch"; \
		npm install --package-lock-only --ignore-scripts --no-audit --no-fund --loglevel=error; \
		npm ci --dry-run --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); \
	cp "$$scratch/package-lock.json" $(JS)/
	@if grep -nE '"resolved"|^ *(-i|-f|--(extra-)?index-url|--find-links)|file://' requirements.lock $(JS)/package-lock.json; then \
		echo "error: a lock file names where its packages come from" >&2; exit 1; \
	fi

clean: ## remove what was installed and built
	rm -rf $(VENV) $(JS)/node_modules server/keyside/static dist build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find server tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how setup gets there; a file stands for each step, so that nothing is done twice ---

# PYTHON=... chooses one; otherwise the first on the PATH that runs and is new enough.
FIND_PYTHON = python=; \
	for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			python=$$(command -v "$$candidate"); break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: Keyside needs Python 3.11 or newer (on Debian: apt-get install python3 python3-venv)" >&2; exit 1; \
	fi

# vite needs 20.19, 22.12, or what came after.
NODE_CHECK = const [a, b] = process.versions.node.split(".").map(Number); \
	if (a < 20 || (a === 20 && b < 19) || a === 21 || (a === 22 && b < 12)) { \
		console.error("error: Keyside is built with Node 20.19, 22.12 or newer; this is " + process.version); \
		process.exit(1); \
	}

$(VENV)/.created:
	@$(FIND_PYTHON); \
	"$$python" -c 'import ensurepip' 2>/dev/null || { \
		echo "error: $$python cannot make virtual environments (on Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.requirements: requirements.lock $(VENV)/.created
	@echo "Installing Python packages"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.keyside: pyproject.toml hatch_build.py $(VENV)/.requirements | $(PAGE)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(NPM_INSTALLED): $(JS)/package.json $(JS)/package-lock.json $(JS)/.npmrc
	@command -v node >/dev/null && command -v npm >/dev/null || { \
		echo "error: Keyside is built with Node 20.19 or newer, and npm; neither may be missing" >&2; exit 1; }
	@node -e '$(NODE_CHECK)'
	@echo "Installing Node packages"
	@cd $(JS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(PAGE): $(PAGE_SOURCES) $(NPM_INSTALLED)
	@echo "Building the page and the companion"
	@cd $(JS) && npm run build --loglevel=error
	@touch $@
