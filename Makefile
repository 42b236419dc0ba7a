# make run   start PixyProxy here, with nothing to configure      make test   all tests, on real servers
# make check linters, types, layers, deploy files                 make pins   renew the pinned requirements
# make screenshots   the pictures of the page in docs/page/, with Debian's chromium and fonts
# make bench compare it with its alternatives (100 minutes; ARGS="--rounds 1 --quick" is a smoke run)
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: run test bench check format screenshots pins clean

run: .venv/runtime.done
	$(BIN)/pixyproxy serve $(ARGS)

test: .venv/dev.done
	@deploy/install-mariadb
	@deploy/install-mysql .venv/mysql || true # without MySQL its tests are skipped, or fail with CI=true
	@deploy/install-packages tests/clients/package.json .venv/clients || true # without Node its tests are skipped, or fail with CI=true
	@deploy/install-packages tests/page/package.json .venv/page || true # without Node the page's are skipped, or fail with CI=true
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

bench: .venv/dev.done .venv/bench.done
	@benchmarks/install
	@deploy/install-mysql .venv/mysql
	$(BIN)/python -m benchmarks $(ARGS)

check: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.lint_openapi
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m tests.lint_page

format: .venv/dev.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m tests.lint_page --fix

screenshots: .venv/dev.done
	$(BIN)/python -m tests.screenshots

pins: .venv/dev.done
	$(PYTHON) -m venv .venv/pins && .venv/pins/bin/pip install -q uv
	.venv/pins/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade pyproject.toml -o requirements.txt
	.venv/pins/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	.venv/pins/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --upgrade --group bench -o benchmarks/requirements.txt

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime.done: requirements.txt pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

.venv/dev.done: requirements-dev.txt .venv/runtime.done
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

.venv/bench.done: benchmarks/requirements.txt | .venv/bin/python
	$(PYTHON) -m venv --clear .venv/bench
	@# --no-deps, because the pins hold every dependency, extras included; `pip check` verifies that. pip 23.2 resolves
	@# hashed requirements again and fails: it does not recognize pydantic[email] of fastapi-sso as pinned.
	.venv/bench/bin/pip install -q --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.txt
	.venv/bench/bin/pip check -q --disable-pip-version-check
	touch $@
