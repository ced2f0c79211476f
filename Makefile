# Everything sets itself up: a Python >= 3.11 is all a machine needs. `make` alone lists the targets.

# The first Python that is new enough and can make a virtual environment; else any, which then says what is missing.
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14
FIND_PYTHON = for python in $(CANDIDATES); do \
	if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo $$python; exit; fi; done; \
	for python in $(CANDIDATES); do if $$python -c '' 2>/dev/null; then echo $$python; exit; fi; done
BOOTSTRAP = python=$${PYTHON:-$$($(FIND_PYTHON))}; \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed and no python3 was found: install one (apt install python3 python3-venv, brew install python)." >&2; exit 1; fi; \
	$$python deploy/local/bootstrap.py
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header -q

# More than cores: half of a test's time is spent waiting for other processes.
WORKERS = $$(( $$(getconf _NPROCESSORS_ONLN) * 2 ))

.DEFAULT_GOAL := help
.PHONY: help run setup test check model chaos fuzz bench bench-peers soak image-check lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

run: ## Run the whole system on this machine, offline (options: make run ARGS="--port 8081")
	@$(BOOTSTRAP)
	@exec .venv/bin/poindexter up $(ARGS)

setup: ## Only install: .venv with everything for development
	@$(BOOTSTRAP) --dev

test: setup ## Run the tests (some only: make test ARGS=tests/gateway; one process: make test WORKERS=0)
	@.venv/bin/python -m pytest -q -n $(WORKERS) $(ARGS)

check: setup ## Lint, formatting, types, import contracts, lock files
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@if grep -n '://' requirements*.lock; then echo 'A lock file names a host: make it again with `make lock`.' >&2; exit 1; fi

model: setup ## The settlement protocol, every order of its steps and of up to three faults
	@.venv/bin/python -m tests.model $(ARGS)

chaos: setup ## The proof: kill -9 anything under load, then count
	@.venv/bin/python -m tests.system.chaos $(ARGS)

fuzz: setup ## Damaged input for every parser (longer: make fuzz ARGS="--seconds 3600")
	@.venv/bin/python -m tests.fuzz $(ARGS)

bench: setup ## CPU per request, added latency, memory per stream, beside nginx
	@.venv/bin/python -m loadtests.bench $(ARGS)

bench-peers: setup ## The same beside other gateways, as far as their packages can be had
	@.venv/bin/python -m loadtests.bench_peers $(ARGS)

soak: setup ## Hours of load: memory and counters must stay flat
	@.venv/bin/python -m loadtests.soak $(ARGS)

image-check: setup ## Build what the Docker image will hold, without Docker, and run it
	@.venv/bin/python -m pytest -q tests/deploy/image_check.py

lock: ## Make the three lock files again from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo 'uv is needed for this target only: pip install uv' >&2; exit 1; }
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra local -o requirements-local.lock
	$(COMPILE) --extra local --group dev -o requirements-dev.lock

clean: ## Remove .venv, caches and the local data of `make run`
	@if [ -x .venv/bin/python ]; then .venv/bin/python -m deploy.local.state --remove; fi
	rm -rf .venv .poindexter build ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
