# Device provisioning for Mosquitto. `make` alone prints this help.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python
# From bytecode each service starts in a third of the time.
unexport PYTHONDONTWRITEBYTECODE
# `make up UP_HOOKS_PORT=...`: see embedded/state.py.
export UP_POSTGRES_PORT UP_PROVISION_PORT UP_ACCOUNT_PORT UP_PROVISION_TLS_PORT UP_ACCOUNT_TLS_PORT
export UP_HOOKS_PORT UP_HOOKS_METRICS_PORT UP_RESPONDER_METRICS_PORT UP_API_PORT UP_API_METRICS_PORT

.PHONY: help up down clean logs test test-long soak fuzz mutants check bench bench-large migrate lock schema docs proto

help:  ## this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up:  ## install what is missing, start everything, provision a simulated device
	@embedded/install.sh run
	@$(PYTHON) -m embedded up

down:  ## stop everything
	@$(PYTHON) -m embedded down

clean:  ## stop everything and forget it: databases, keys, secrets
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m embedded clean; fi
	@$(MAKE) -s -C mosquitto/plugin clean

logs:  ## follow the logs of what runs
	@$(PYTHON) -m embedded logs

migrate:  ## migrate the schema of what runs: make migrate ARGS="status"
	@. .run/env && $(PYTHON) -m service migrate $(or $(ARGS),up)

test:  ## all tests but the long ones (needs nothing running, leaves nothing running)
	@embedded/install.sh dev
	@$(MAKE) -s -C mosquitto/plugin test
	@$(PYTHON) -m pytest -n 4 --dist worksteal -m "not long" $(ARGS)

test-long:  ## the long ones as well: bulk, races; their figures go into docs/reliability.md
	@embedded/install.sh dev
	@mkdir -p build && rm -f build/figures.jsonl
	@RELIABILITY_FIGURES=$(CURDIR)/build/figures.jsonl $(PYTHON) -m pytest -n 3 --dist worksteal --timeout=1800 $(ARGS)
	@$(PYTHON) -m tests.support.reliability build/figures.jsonl

soak:  ## all of it for SOAK_MINUTES (10), with breaks: nothing may grow; into docs/reliability.md
	@embedded/install.sh bench
	@$(PYTHON) -m bench --write G21
	@$(PYTHON) -m tests.support.reliability build/none

fuzz:  ## libFuzzer over every parser, SECONDS (60) each: make fuzz TARGET=ask
	@embedded/install.sh dev
	@for target in $(or $(TARGET),$$($(PYTHON) -m tests.fuzz.targets)); do \
		echo "== $$target"; $(PYTHON) -m tests.fuzz.run $$target $(or $(SECONDS),60) || exit 1; done
	@$(MAKE) -s -C mosquitto/plugin fuzz SECONDS=$(or $(SECONDS),60)

mutants:  ## change the decisions in 5,000 ways: a test notices each, or it is explained; some: make mutants ARGS='service.core.steps.*'
	@embedded/install.sh dev
	@mkdir -p build && rm -rf build/mutants.jsonl mutants/tests
	@.venv/bin/mutmut run --max-children 2 $(if $(ARGS),'$(ARGS)')
	@RELIABILITY_FIGURES=$(if $(ARGS),,$(CURDIR)/build/mutants.jsonl) $(PYTHON) -m tests.mutation.survivors $(if $(ARGS),'$(ARGS)')
	@$(PYTHON) -m tests.support.reliability build/mutants.jsonl

check:  ## ruff, mypy, squawk, C warnings as errors
	@embedded/install.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/squawk $$(ls sql/migrations/*.sql | grep -v rollback)
	$(MAKE) -s -C mosquitto/plugin clean all

bench:  ## measure the everyday figures beside their goals into docs/benchmarks; some rows: make bench ARGS="B1 B3"
	@embedded/install.sh bench
	@$(MAKE) -s -C bench/load
	@$(PYTHON) -m bench --write $(ARGS)
	@$(PYTHON) -m tests.support.reliability build/none

bench-large:  ## measure all of them: 1,000,000 users, floods of a minute
	@embedded/install.sh bench
	@$(MAKE) -s -C bench/load
	@$(PYTHON) -m bench --large --write $(ARGS)
	@$(PYTHON) -m tests.support.reliability build/none

lock:  ## renew the hashed locks
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --extra fast pyproject.toml -o requirements.txt
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev --extra fast pyproject.toml -c requirements.txt -o requirements-dev.txt

schema:  ## write sql/schema.sql from the migrations
	@$(PYTHON) -m embedded.dump_schema

docs:  ## write docs/commands.md and the roles in docs/access.md
	@$(PYTHON) -m service.cli.reference
	@$(PYTHON) -m service.api.reference

proto:  ## generate Kura's payload code from its .proto
	@$(PYTHON) -m grpc_tools.protoc -I service/mqtt --python_out=service/mqtt --pyi_out=service/mqtt service/mqtt/kura_payload.proto
