# One command a task. `make help` lists them; .ci/run calls the same ones.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
# Flags for `make serve`, such as ARGS="-m model.gguf --port 9000".
ARGS ?=
# Seconds that each fuzz target runs.
TIME ?= 60
# Recorded answers that a running server can be held against, where there are any.
PARITY_DIR ?= ../shared/parity
PARITY_PORT ?= 18099

CARGO_PROFILE := --release
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')
MODEL := .models/SmolLM2-135M-Instruct.Q4_1.gguf

# maturin and pip must find this environment, whatever is active in the shell.
export VIRTUAL_ENV := $(abspath $(VENV))
unexport PYTHONHOME CONDA_PREFIX

.PHONY: help
help: ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS=$$'\t' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

# The stamps below are touched when their step has succeeded, so that a second run does nothing.

$(VENV)/.created: scripts/check-tools.sh
	@PYTHON="$(PYTHON)" bash scripts/check-tools.sh
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.tools: $(VENV)/.created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'maturin>=1.9.4,<2'
	@touch $@

$(VENV)/.built: $(VENV)/.tools $(RUST_SOURCES)
	$(BIN)/maturin develop $(CARGO_PROFILE)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'rustllm[dev]'
	@touch $@

.PHONY: venv
venv: $(VENV)/.dev ## the virtual environment with all that tests need

.PHONY: build
build: $(VENV)/.built ## the package, built into .venv

.PHONY: serve
serve: $(VENV)/.built ## a server on http://127.0.0.1:8080 (ARGS="-m FILE.gguf" for another model)
	@exec $(BIN)/rustllm-serve $(ARGS)

.PHONY: test
test: lint test-rust test-python ## all tests and lints

.PHONY: test-rust
test-rust: ## the Rust tests
	@bash scripts/test-rust.sh $(CARGO_PROFILE)

.PHONY: test-python
test-python: $(VENV)/.dev ## the Python tests (ARGS="-k name" for some of them)
	$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: lint-rust lint-python ## formatting, lints, types and stubs

.PHONY: lint-rust
lint-rust:
	cargo fmt --check
	cargo clippy $(CARGO_PROFILE) --all-targets --all-features --quiet -- -D warnings

.PHONY: lint-python
lint-python: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise rustllm._rustllm

.PHONY: format
format: $(VENV)/.dev ## the sources, formatted
	cargo fmt
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: models
models: $(MODEL) ## the models that some tests need, into .models/

$(MODEL): scripts/fetch-models.sh | $(VENV)/.created
	@bash scripts/fetch-models.sh $(BIN)/python $@

.PHONY: parity
parity: $(VENV)/.built ## a server against the recorded answers in PARITY_DIR
	@bash scripts/parity.sh "$(PARITY_DIR)" $(BIN) $(PARITY_PORT)

.PHONY: fuzz
fuzz: ## each fuzz target for TIME seconds (needs nightly Rust and cargo-fuzz)
	@bash scripts/fuzz.sh $(TIME)

.PHONY: wheel
wheel: $(VENV)/.tools ## a wheel for others, in dist/
	$(BIN)/maturin build --profile dist --out dist

.PHONY: clean
clean: ## remove what was built (models stay)
	rm -rf $(VENV) dist target fuzz/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python -name '*.so' -delete
