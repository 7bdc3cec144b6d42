# Two commands matter: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUF := .tools/node/node_modules/.bin/buf
BUF_VERSION := 1.75.0

IMAGES ?=
TRUTH ?=
SPLIT ?=
OUT ?= runs/demo
# What runs for minutes: killed processes, soaks, chance. Most of its work is done by other processes,
# whose lines are not counted.
PROOFS := $(addprefix tests/integration/labels/test_label_,crash.py replicas.py memory.py fuzz.py model.py) \
          tests/integration/inference/test_no_cross_talk.py
WHOLE := tests/e2e $(PROOFS)
# Two files at a time, the longest first.
RUN := -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=15
# Options may choose tests of one run only; pytest then says 5 of the other.
OR_NONE := $(if $(PYTEST),|| [ $$? -eq 5 ])
DEMO := $(if $(IMAGES),--images "$(IMAGES)") $(if $(TRUTH),--truth "$(TRUTH)") $(if $(SPLIT),--split "$(SPLIT)")

.PHONY: demo test checks install install-check clients fmt lint type protos protos-check test-unit test-integration proofs images k8s-check clean

demo: $(VENV)/all ## one campaign on generated images, or: make demo IMAGES=folder TRUTH=folder
	$(BIN)/parfocal demo --out "$(OUT)" $(DEMO)

test: install ## everything that is checked
	$(MAKE) --no-print-directory --jobs=2 checks
	$(BIN)/python $(RUN) $(PYTEST) $(WHOLE) $(OR_NONE)
	$(BIN)/python -m slipcover $(RUN) $(PYTEST) $(addprefix --ignore=,$(WHOLE)) $(OR_NONE)

checks: lint type protos-check install-check clients ## all but the tests

test-unit: install ## no sockets
	$(BIN)/python -m pytest tests/unit $(PYTEST)

test-integration: install ## real servers, stores, databases
	$(BIN)/python -m pytest tests/integration tests/e2e $(PYTEST)

proofs: install ## services under kills, soak and chance: all of it, half an hour
	PARFOCAL_PROOFS=all $(BIN)/python -m pytest -rP $(PROOFS) $(PYTEST)

install: $(VENV)/dev ## the environment for development

fmt: install ## format sources and protos
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	if [ -x $(BUF) ]; then $(BUF) format -w; fi

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: install
	$(BIN)/mypy

install-check: install ## each extra in a bare environment
	$(BIN)/python tools/check_install.py

clients: install ## other people's clients, for the tests that let them call us
	tests/components/client_venvs.sh

protos: ## generate the committed stubs
	$(PYTHON) tools/gen_protos.py

protos-check: $(BUF) ## stubs are fresh; protos are well-formed and break nobody
	$(PYTHON) tools/gen_protos.py --check
	tools/check_protos.sh $(BUF)

images: ## build the service images
	tools/build_images.sh

k8s-check: ## render every overlay
	for overlay in k8s/overlays/*/; do kubectl kustomize $$overlay >/dev/null || exit 1; done

clean: ## remove what these targets made
	rm -rf $(VENV) .tools .venv-*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/all: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[all]"
	touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[all,dev]"
	touch $@ $(VENV)/all

# Where npm is missing, an empty file stands in and tools/check_protos.sh says what was skipped.
$(BUF):
	mkdir -p $(dir $@)
	if command -v npm >/dev/null; then \
	    npm install --silent --no-fund --no-audit --prefix .tools/node @bufbuild/buf@$(BUF_VERSION); \
	else touch $@; fi
