# One command a task; `make help` lists them. CI calls the same ones.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# cargo and pytest share the cores among themselves; two of them at once would only wait for a lock.
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BENCH := .bench
CLIENTS := .clients
WHEEL := .wheel
AUDIT := .audit
BIN := $(VENV)/bin
MODELS := .models
SMOLLM2 := $(MODELS)/SmolLM2-135M-Instruct.Q4_1.gguf
MINILM := $(MODELS)/all-MiniLM-L6-v2.F16.gguf
GEMMA3 := $(MODELS)/gemma-3-270m.Q4_K_M.gguf
QWEN2 := $(MODELS)/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf
TIME ?= 60
ARGS ?=
PARITY_DIR ?= ../shared/parity
VOCAB_DIR ?= ../shared/data/vocab
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
RUST_SOURCES := $(shell find src -name '*.rs') Cargo.toml Cargo.lock

.PHONY: help venv build serve test test-rust test-python test-clients torture torture-short soak test-aarch64 lint format screenshots docs browser models parity fuzz sanitize audit fuzz-check wheel test-wheel clean bench-compare bench-constraints bench-serve

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(VENV)/.dependencies ## Make .venv with everything that development needs

# The stamps below are touched when their step has succeeded, so that a second run does nothing.

$(VENV)/.dependencies: pyproject.toml scripts/requirements.py scripts/check_tools.sh
	@PYTHON=$(PYTHON) bash scripts/check_tools.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python scripts/requirements.py > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(VENV)/requirements.txt
	@touch $@

build: $(VENV)/.built ## Build the package into .venv (incremental)

$(VENV)/.built: $(VENV)/.dependencies $(RUST_SOURCES)
	@echo "building the package (the first time takes minutes)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) PIP_QUIET=1 $(BIN)/maturin develop --release
	@touch $@

serve: build ## Serve the embedded model (ARGS="-m FILE.gguf --port 8081" for others)
	@exec $(BIN)/rustllm-serve $(ARGS)

test: lint test-rust test-python ## Lints, Rust tests, Python tests

# More vocabularies than those of the repository, where there are any.
test-rust: export RUSTLLM_VOCAB_DIR := $(wildcard $(VOCAB_DIR))
test-rust: models ## Rust tests, with cargo nextest where it is installed
ifdef NEXTEST
	cargo nextest run --release --features reference --no-fail-fast
else
	cargo test --release --features reference --no-fail-fast
endif

# The tests start servers by the hundred, each of which would compile the package anew if nothing kept the bytecode.
test-python: build models ## Python tests, against real server processes
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-aarch64: ## Kernel tests for AArch64, under qemu on other processors
	@scripts/test_aarch64.sh $(ARGS)

$(CLIENTS)/.dependencies: pyproject.toml scripts/requirements.py
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python scripts/requirements.py clients > $(CLIENTS)/requirements.txt
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r $(CLIENTS)/requirements.txt
	@touch $@

test-clients: build $(CLIENTS)/.dependencies ## LangChain, LlamaIndex, LiteLLM, … against a live server
	RUSTLLM_PYTHON=$(CURDIR)/$(BIN)/python $(CLIENTS)/bin/python -m pytest tests/clients $(ARGS)

# One process after the other: the tests measure memory and time.
torture: build models ## Hostile input, chaos, overload and a soak, in an hour (ARGS="-k overload" for a part)
	RUSTLLM_TORTURE=long $(BIN)/python -m pytest tests/torture --timeout 3600 $(ARGS)
	$(MAKE) soak TIME=300

torture-short: build models ## The same in minutes, as in CI
	$(BIN)/python -m pytest tests/torture $(ARGS)
	$(MAKE) soak TIME=120

soak: TIME = 120
soak: build ## Mixed traffic for TIME seconds; memory, threads and open files must stay flat
	$(BIN)/python scripts/soak.py --seconds $(TIME) $(ARGS)

lint: build ## Formatting, clippy, ruff, mypy, stubs
	cargo fmt --check
	cargo clippy --release --all-targets --features reference --quiet -- -D warnings
	cargo clippy --release --features python --quiet -- -D warnings
	$(BIN)/ruff check python tests scripts benches examples fuzz
	$(BIN)/ruff format --check python tests scripts benches examples fuzz
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest rustllm._rustllm --allowlist tests/stubtest-allowlist.txt

format: venv ## Format all sources
	cargo fmt
	$(BIN)/ruff check --fix-only --quiet python tests scripts benches examples fuzz
	$(BIN)/ruff format --quiet python tests scripts benches examples fuzz

browser: ## Install the browser that the pages are tested with, or say how
	@scripts/install_browser.sh

screenshots: build models ## Take the pictures of docs/img (needs Chromium and the package pyte)
	$(BIN)/python scripts/screenshots.py

docs: build ## Write docs/conformance.md: what each endpoint does with each field
	$(BIN)/python scripts/conformance.py

models: $(SMOLLM2) $(MINILM) $(GEMMA3) $(QWEN2) ## Fetch the test models into .models

$(SMOLLM2) $(MINILM) $(GEMMA3) $(QWEN2): | $(VENV)/.dependencies
	$(BIN)/python scripts/fetch_models.py $(MODELS)

parity: build ## Replay recorded answers with the checker in PARITY_DIR
	$(BIN)/python scripts/parity.py $(PARITY_DIR)

fuzz: build ## Run all fuzz targets (TIME=60 seconds each)
	PYTHON=$(CURDIR)/$(BIN)/python scripts/fuzz.sh $(TIME)

sanitize: ## The kernels' tests with AddressSanitizer, what Miri can run with Miri (PART=asan or miri)
	scripts/sanitize.sh $(PART)

# Without the tool the other half is looked up all the same; the script tells what is missing.
audit: ## Look dependencies up in the databases of known vulnerabilities (cargo-audit or cargo-deny, pip-audit)
	-test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
	    $(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check $$($(PYTHON) scripts/requirements.py audit); }
	@mkdir -p $(AUDIT)
	@$(PYTHON) scripts/requirements.py dependencies > $(AUDIT)/requirements.txt
	@scripts/audit.sh $(AUDIT)/bin/pip-audit $(AUDIT)/requirements.txt

fuzz-check: ## Check that the fuzz targets compile
	cargo check --quiet --manifest-path fuzz/Cargo.toml

$(BENCH)/.dependencies: benches/requirements.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench-compare: build models $(BENCH)/.dependencies ## Measure beside llama.cpp (ARGS="--types Q4_0 --rounds 2")
	$(BENCH)/bin/python -m benches.compare $(ARGS)

bench-constraints: build models ## Measure masks, and new schemas beside streams (ARGS="--rounds 9")
	$(BIN)/python -m benches.constraints $(ARGS)

bench-serve: build models $(BENCH)/.dependencies ## Measure the server beside llama-server (ARGS="--clients 16")
	PYTHONPATH=python $(BENCH)/bin/python -m benches.serve $(ARGS)

# zig links against an old C library, so that the wheel runs on any Linux of the last ten years.
wheel: $(WHEEL)/.dependencies ## Build a wheel for others, and the sources, into dist/
	rm -rf dist
	PATH=$(CURDIR)/$(WHEEL)/bin:$$PATH $(WHEEL)/bin/maturin build --profile dist --zig --compatibility manylinux2014 --out dist
	$(WHEEL)/bin/maturin sdist --out dist

test-wheel: wheel ## Check what is in dist/, install the wheel into a fresh environment and ask its server
	$(WHEEL)/bin/python scripts/check_wheel.py dist
	CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-$(CURDIR)/target} $(WHEEL)/bin/python -m pip wheel --quiet --no-deps -w dist/of-sources dist/*.tar.gz

$(WHEEL)/.dependencies: pyproject.toml scripts/requirements.py
	test -x $(WHEEL)/bin/python || $(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python scripts/requirements.py wheel > $(WHEEL)/requirements.txt
	$(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check -r $(WHEEL)/requirements.txt
	@touch $@

clean: ## Remove what was built
	rm -rf $(VENV) $(BENCH) $(CLIENTS) $(WHEEL) $(AUDIT) dist target fuzz/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python -name '*.so' -delete
