# Every command that a person or CI runs. `make help` lists them; each works from a fresh clone on a
# machine with Python 3.11+ and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# One more than two cores: tests of real servers wait for half of their time.
WORKERS ?= 3
RUN    := $(BIN)/python

# One ignored folder holds all state of a local run.
export FRAUD_VAR_DIR ?= var
export DAGSTER_HOME  ?= $(abspath $(FRAUD_VAR_DIR))/dagster
# Nothing here phones home.
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DAGSTER_DISABLE_TELEMETRY := yes
# XGBoost's threads sleep when they wait for each other. Where other processes have the cores, as beside other tests, they
# would spin instead: a training of a third of a second then took four seconds of processor time.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help install demo drift-demo scenarios pricing-demo up down rebuild-online test test-demo test-kafka test-redis test-torch test-browser test-prometheus dashboards-check stack-test check static lint format types imports kernels fetch bench backfill-bench bench-peers chaos chaos-kafka fuzz handbook screenshots lock clean java jars redis torch chromium prometheus scale scale-test walkthroughs sbom audit docs

help: ## list everything
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------ install

install: $(STAMP) ## create .venv from the lock: every file hashed, bytecode compiled

# uv itself comes out of the lock, hash and all; then it installs the rest in a tenth of pip's time.
$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@awk '/^uv==/ {on=1; print; next} on && /^ +--hash/ {print; next} {on=0}' requirements.lock > $(VENV)/uv.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	@echo "installing the locked packages (about 200; a few minutes on a slow line)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) sh deploy/brief.sh $(BIN)/uv pip sync --require-hashes --compile-bytecode requirements.lock
	@touch $@

# Dagster reads its instance settings from DAGSTER_HOME, and that folder holds its database too.
$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	@mkdir -p $(@D)
	@cp $< $@

READY := $(STAMP) $(DAGSTER_HOME)/dagster.yaml

# The resolver writes no registry's address into a lock; a test checks that.
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 \
	--generate-hashes --no-strip-extras --no-header --quiet

lock: $(STAMP) ## resolve pyproject.toml and the peers' packages again into the lock files (UPGRADE=--upgrade for newer versions)
	$(COMPILE) pyproject.toml $(UPGRADE) --extra platform --extra local --group dev -o requirements.lock
	$(COMPILE) pyproject.toml $(UPGRADE) --extra platform --constraint requirements.lock -o requirements-platform.lock
	$(COMPILE) pyproject.toml $(UPGRADE) --constraint requirements.lock -o requirements-scorer.lock
	$(COMPILE) --group scale $(UPGRADE) --constraint requirements.lock -o requirements-scale.lock
	$(COMPILE) benchmarks/peers/requirements.in $(UPGRADE) -o requirements-peers.lock
	$(COMPILE) --group audit $(UPGRADE) -o requirements-audit.lock
	$(COMPILE) --group docs $(UPGRADE) -o requirements-docs.lock
	@touch $(STAMP) && echo "locks written; run make install to follow them" && touch requirements.lock

# ---------------------------------------------------------------------------------------------- run

demo: $(READY) kernels ## from nothing to live decisions with an attack in them; about four minutes, and two more the first time
	$(RUN) -m deploy.local.demo

drift-demo: $(READY) kernels ## fraud shifts under live traffic, and the platform finds its way back with nobody watching; about fifteen minutes
	$(RUN) -m deploy.local.drift_demo

scenarios: $(READY) kernels ## every scenario of the simulator against one platform, each judged by its tolerances; about ten minutes (ONLY="flash-sale adaptive")
	$(RUN) -m deploy.local.scenarios $(if $(ONLY),--only $(ONLY)) $(ARGS)

pricing-demo: $(READY) kernels ## the pricing service in seeded markets against fixed prices and a rule: revenue, sell-through, regret; about seven minutes (ARGS=--help)
	$(RUN) -m deploy.local.pricing_demo $(ARGS)

up: $(READY) kernels ## start the embedded stack, leave it running and print the addresses (ARGS=--help)
	$(RUN) -m deploy.local.stack up $(ARGS)

down: $(STAMP) ## stop what `make up` started, and nothing else
	$(RUN) -m deploy.local.stack down

rebuild-online: $(STAMP) ## fill an emptied online store from the newest snapshot and the log (FORCE=1: a live one too)
	$(RUN) -m streaming rebuild-online $(if $(FORCE),--force)

# -------------------------------------------------------------------------------------------- check

# Kernels first: workers that start cold would each compile them, inside some test's time limit.
test: $(READY) kernels ## all tests but those that need Java, Redis, PyTorch, Chromium, Prometheus or a whole demo (ARGS= is passed to pytest)
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Not one of `make test`: it is a platform of eight processes, and takes minutes.
test-demo: $(READY) kernels ## the whole demo, and make up and down, small, as tests; about four minutes
	$(RUN) -m pytest -m demo tests/e2e $(ARGS)

# Those of a running platform are among `make up`'s own tests.
walkthroughs: $(READY) kernels ## the pages of docs/walkthroughs and the notebook, each block run as it stands
	$(RUN) -m pytest -m "demo or not demo" tests/e2e/test_up.py tests/e2e/test_ml_engineer.py tests/notebooks $(ARGS)

test-kafka: $(READY) java ## the integration tests on Apache Kafka 4, or on KAFKA_BOOTSTRAP_SERVERS; and on a schema registry
	$(RUN) -m pytest -m kafka $(ARGS)

test-redis: $(READY) redis ## the online store's tests on Redis too; make test runs them on Valkey
	$(RUN) -m pytest tests/stores/test_online.py $(ARGS)

test-torch: $(READY) torch ## the hand-over of vectors to PyTorch, without a copy
	$(RUN) -m pytest -m torch tests/stores/test_conversions.py $(ARGS)

scale-test: $(READY) scale kernels ## what runs on more than one machine, at small size: a Spark cluster, ClickHouse, a group of four workers, a Redis Cluster with failover
	$(RUN) -m pytest -m scale $(ARGS)

test-browser: $(READY) chromium ## the Dagster UI in headless Chromium
	$(RUN) -m pytest -m browser tests/deploy/test_screenshots.py $(ARGS)

test-prometheus: $(READY) prometheus ## rules, alerts, routes and dashboards through Prometheus' own programs
	$(RUN) -m pytest -m prometheus tests/deploy/test_prometheus.py $(ARGS)

dashboards-check: $(READY) kernels prometheus ## every panel of every dashboard asked of a live run, and the fraud alert seen to arrive; some ten minutes, and thrice that on a busy machine
	$(RUN) -m deploy.local.dashboards_check $(ARGS)

stack-test: $(READY) kernels java ## Compose's own services as processes, with ENVIRONMENT=production and secrets as files: eleven promises, a table
	$(RUN) -m tests.stack

check: $(READY) ## what CI runs: ruff, mypy, import-linter, tests
	+$(MAKE) static
	+$(MAKE) test

# mypy has one core for as long as the kernels, of a fresh clone, have the other.
static: $(READY) ## ruff, mypy and import-linter, and the kernels compiled beside them: what check does before its tests
	+$(MAKE) --jobs 2 lint types imports kernels

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## the import rules of docs/architecture.md
	$(BIN)/lint-imports --no-logo

# Never side by side: apt-get does not wait for another's lock. Without Redis, which is small, and which make test uses as soon as it is there.
fetch: $(STAMP) ## download ahead what test-kafka, test-torch, test-browser and test-prometheus need; CI does it beside its tests
	+@$(MAKE) --jobs 1 jars torch chromium prometheus

# System packages are installed only by the targets that need them, and only where we may.
java:
	@command -v java >/dev/null && command -v mvn >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "Apache Kafka needs Java 17 and Maven: install openjdk-17-jre-headless and maven, or set KAFKA_BOOTSTRAP_SERVERS." >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jre-headless maven; }

# Else Maven fetches them when a test first asks for one.
jars: $(STAMP) java
	@$(RUN) -c 'from deploy.local import kafka, schema_registry; kafka.jars(); schema_registry.jar()'

# Debian starts a redis-server of its own on installation; RUNLEVEL=1 tells it not to.
redis:
	@command -v redis-server >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "These tests need redis-server 7.0 or newer on PATH." >&2; exit 1; }; \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server; }

# The distribution's, for the system's Python: the wheel for x86 would bring 5 GB of CUDA.
torch:
	@$(RUN) -c 'import torch' 2>/dev/null || /usr/bin/python3 -c 'import torch' 2>/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "This test needs PyTorch: install python3-torch, or torch into $(VENV)." >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-torch; }

# A lock of its own: only who computes history on a cluster wants a gigabyte of Spark and ClickHouse.
scale: $(STAMP) java
	@$(RUN) -c 'import chdb.session, pyspark.sql' 2>/dev/null || VIRTUAL_ENV=$(CURDIR)/$(VENV) sh deploy/brief.sh $(BIN)/uv pip install --require-hashes --compile-bytecode -r requirements-scale.lock

chromium:
	@command -v chromium >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "Pictures are taken in Chromium: install chromium." >&2; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

# Only their programs: RUNLEVEL=1 tells Debian not to start them.
prometheus:
	@command -v promtool >/dev/null && command -v amtool >/dev/null && command -v prometheus-node-exporter >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		|| { echo "Install prometheus, prometheus-alertmanager and prometheus-node-exporter." >&2; exit 1; }; \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			prometheus prometheus-alertmanager prometheus-node-exporter; }

kernels: $(STAMP) ## compile the engine's kernels, or find them compiled
	@echo "compiling the engine's kernels, or loading them (the first time takes a minute)"
	@$(RUN) -m fraud_assets.engine

# ------------------------------------------------------------------------------------------ measure

chaos: $(READY) kernels ## break it for real and say what held, one JSON line each (ONLY="R4 R12")
	$(RUN) -m tests.chaos $(ONLY)

chaos-kafka: $(READY) kernels java ## the proofs about a log, each on an Apache Kafka 4 of its own (ONLY="R1 R8")
	$(RUN) -m tests.chaos --kafka $(ONLY)

fuzz: $(READY) kernels ## throw 20,000 requests and byte strings at a running scorer; one JSON line (ARGS="--seed N" repeats)
	$(RUN) -m tests.fuzz $(ARGS)

bench: $(STAMP) ## ours beside its peers, one JSON line each (ONLY=engine for one part)
	$(RUN) -m benchmarks $(ONLY)

backfill-bench: $(READY) kernels ## fifty million payments through a feature view of each kind, out of core; half an hour and 35 GB under TMPDIR
	$(RUN) -m benchmarks.engine_backfill

# The site's generator and ours have no package in common that both must agree on.
DOCS := $(abspath $(FRAUD_VAR_DIR))/docs-venv
$(DOCS)/.installed: requirements-docs.lock | $(STAMP)
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv --without-pip $(DOCS)
	@VIRTUAL_ENV=$(DOCS) sh deploy/brief.sh $(BIN)/uv pip sync --require-hashes --compile-bytecode requirements-docs.lock
	@touch $@

docs: $(DOCS)/.installed ## the pages of docs/ as a site in var/site; a link that leads nowhere ends it
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --config-file deploy/mkdocs.yml --site-dir $(abspath $(FRAUD_VAR_DIR))/site
	@echo "look at it: $(PYTHON) -m http.server --bind 127.0.0.1 --directory $(FRAUD_VAR_DIR)/site 8010"

# Feast wants other versions of what we use, so it has an environment of its own.
PEERS := $(abspath $(FRAUD_VAR_DIR))/peers-venv
$(PEERS)/.installed: requirements-peers.lock | $(STAMP)
	@test -x $(PEERS)/bin/python || { echo "creating $(PEERS)"; $(PYTHON) -m venv --without-pip $(PEERS); }
	@echo "installing the peers' locked packages (about 70)"
	@VIRTUAL_ENV=$(PEERS) sh deploy/brief.sh $(BIN)/uv pip sync --require-hashes --compile-bytecode requirements-peers.lock
	@touch $@

bench-peers: $(STAMP) $(PEERS)/.installed kernels ## the scorer beside Feast + FastAPI + XGBoost, which get an environment of their own
	$(RUN) -m benchmarks.peers.vs_feast $(PEERS)/bin/python

# What audits our dependencies shares none of them, so it has an environment of its own.
AUDITOR := $(abspath $(FRAUD_VAR_DIR))/audit-venv
$(AUDITOR)/.installed: requirements-audit.lock | $(STAMP)
	@test -x $(AUDITOR)/bin/python || { echo "creating $(AUDITOR)"; $(PYTHON) -m venv --without-pip $(AUDITOR); }
	@VIRTUAL_ENV=$(AUDITOR) sh deploy/brief.sh $(BIN)/uv pip sync --require-hashes --compile-bytecode requirements-audit.lock
	@touch $@

AUDITED := requirements requirements-platform requirements-scorer
sbom: $(STAMP) $(AUDITOR)/.installed ## a bill of materials of each lock (CycloneDX 1.6), validated by its schema, in var/sbom
	@mkdir -p $(FRAUD_VAR_DIR)/sbom
	@set -e; for lock in $(AUDITED); do \
		$(AUDITOR)/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --sv 1.6 --of JSON \
			--output-reproducible --validate -o $(FRAUD_VAR_DIR)/sbom/$$lock.cdx.json $$lock.lock; \
		echo "$(FRAUD_VAR_DIR)/sbom/$$lock.cdx.json"; done

# Strict: a package of which nobody can say anything fails it, as does a service that does not answer.
audit: sbom ## and known vulnerabilities of what the locks name; needs a network
	@set -e; for lock in $(AUDITED); do \
		$(AUDITOR)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $$lock.lock; done

# The protocol of the Fraud Detection Handbook on our features: train 7 days, wait 7, test 7.
TRAIN_START ?= 2018-07-25
TRAIN_DAYS  ?= 7 28
FOLDS       ?= 1
handbook: $(STAMP) ## the Handbook's protocol (DATA=FILE [PROFILES=DIR TRAIN_START= TRAIN_DAYS= FOLDS= ABLATE=1: what each idea adds])
	@test -n "$(DATA)" || { echo "usage: make handbook DATA=transactions.parquet [PROFILES=DIR] [TRAIN_START=2018-07-25] [TRAIN_DAYS=\"7 28\"] [FOLDS=1] [ABLATE=1]" >&2; exit 2; }
	$(RUN) -m fraud_assets.evaluate --mapping handbook --data $(DATA) $(if $(PROFILES),--profiles $(PROFILES)) \
		--train-start $(TRAIN_START) --train-days $(TRAIN_DAYS) --delay-days 7 --test-days 7 --folds $(FOLDS) $(if $(ABLATE),--ablate)

screenshots: $(READY) chromium ## retake the pictures in docs/images from the last `make demo` and `make drift-demo`
	$(RUN) -m deploy.local.screenshots --demo $(FRAUD_VAR_DIR)/demo --drift-demo $(FRAUD_VAR_DIR)/drift-demo

clean: ## forget caches (not var/, which is data)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
