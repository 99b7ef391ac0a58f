# Two commands do everything on a fresh Debian or Ubuntu machine that has a Rust toolchain:
#   make demo    generate TPC-H lineitem, write it as Parquet and as DeltaLite, scan both, report
#   make test    formatting, lints, documentation, all tests
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# TPC-H scale factor of the generated tables (1 = 6 million rows of lineitem).
SF ?= 1
# Further arguments for `deltalite-bench run`, for example BENCH_ARGS="--quick --data lineitem".
BENCH_ARGS ?=
# Further arguments for `deltalite-bench tables`, for example TABLES_ARGS="--files 100000".
TABLES_ARGS ?=
# Further arguments for `deltalite-bench net`, for example NET_ARGS="--quick --only stream".
NET_ARGS ?=

# Compiled artefacts are shared between clones; reports and generated data stay in ./target of this clone.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/deltalite/target
REPORT_DIR := $(CURDIR)/target/report
DATA_DIR := $(CURDIR)/target/bench-data

# Python packages for the tests of our own and as peers of the benchmarks.
VENV := $(HOME)/.cache/deltalite/venv-1
PYTHON ?= python3
# DuckDB with its extensions for TPC-H and TPC-DS, which are not there for the version that is the peer of benchmarks.
TPC_VENV := $(HOME)/.cache/deltalite/venv-tpc-1
TPC_PACKAGES := duckdb==1.5.5 duckdb-extension-tpch==1.5.5 duckdb-extension-tpcds==1.5.5 pyarrow==26.0.1
# SQL that DataFusion is tested with: a crate's files, without what it depends on.
CORPUS_VERSION := 55.2.0
CORPUS_SHA256 := b270cea4d8c2b2c42773e60164204386fb97d7936736e5f126ac751b86d7dabe
CORPUS := $(HOME)/.cache/deltalite/corpus/datafusion-sqllogictest-$(CORPUS_VERSION)
# Suites and further arguments of `make answers`.
SUITES ?= tpch tpcds
ANSWERS_ARGS ?=
PYTHON_PACKAGES := pytest==9.2.0 pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 duckdb==2.0.0 deltalake==1.6.6 maturin==1.16.0

CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
HAS_NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
# The peers need libclang at build time: a crate of Vortex generates bindings with it.
HAS_LIBCLANG := $(shell ls /usr/lib/llvm*/lib/libclang[.-]*so* /usr/lib/*/libclang[.-]*so* /usr/lib64/libclang[.-]*so* 2>/dev/null | grep -v libclang-cpp | head -n 1; echo $${LIBCLANG_PATH:-})

##@ Everyday

.PHONY: demo
demo: system ## Generate TPC-H lineitem, compare DeltaLite with Parquet, write target/report (SF=1)
	@mkdir -p $(REPORT_DIR)
	$(CARGO) run --release -p deltalite-bench -- demo --sf $(SF) --data-dir $(DATA_DIR) --report-dir $(REPORT_DIR)

.PHONY: test
test: fmt-check clippy doc-check unit-test doc-test python-test peers-check ## Formatting, lints as errors, docs without warnings, all tests

.PHONY: bench
bench: system-peers ## Compare with every peer, Vortex included; writes target/report (BENCH_ARGS=…)
	@mkdir -p $(REPORT_DIR)
	$(CARGO) run --release -p deltalite-bench --features peers -- run --data-dir $(DATA_DIR) --report-dir $(REPORT_DIR) --sf $(SF) $(BENCH_ARGS)

.PHONY: bench-tables
bench-tables: system $(VENV)/made ## Measure tables beside DuckDB, DataFusion, deltalake; writes target/report/tables.json (TABLES_ARGS=--quick)
	@mkdir -p $(REPORT_DIR)
	$(CARGO) run --release -p deltalite-bench -- tables --data-dir $(DATA_DIR) --report-dir $(REPORT_DIR) --python $(VENV)/bin/python $(TABLES_ARGS)

.PHONY: bench-net
bench-net: system ## Measure the network beside bare sockets; writes target/report/net.json (NET_ARGS=--quick)
	@mkdir -p $(REPORT_DIR)
	$(CARGO) run --release -p deltalite-bench -- net --data-dir $(DATA_DIR) --report-dir $(REPORT_DIR) $(NET_ARGS)

.PHONY: answers
answers: system $(TPC_VENV)/made ## TPC-H and TPC-DS: every answer beside DuckDB's and the published ones (SF=1 ANSWERS_ARGS="--memory 1073741824")
	$(CARGO) build --release -p deltalite-bench -p deltalite
	for suite in $(SUITES); do \
		$(TPC_VENV)/bin/python benches/peers/answers.py $$suite --scale $(SF) --binary $(CARGO_TARGET_DIR)/release/deltalite --data $(DATA_DIR) $(ANSWERS_ARGS); \
	done

$(CORPUS)/Cargo.toml:
	mkdir -p $(dir $(CORPUS))
	curl -fsSL https://static.crates.io/crates/datafusion-sqllogictest/datafusion-sqllogictest-$(CORPUS_VERSION).crate -o $(CORPUS).crate
	echo "$(CORPUS_SHA256)  $(CORPUS).crate" | sha256sum --check --quiet
	tar xzf $(CORPUS).crate -C $(dir $(CORPUS)) && touch $@

.PHONY: sqllogictest
sqllogictest: system $(CORPUS)/Cargo.toml ## SQL that DataFusion is tested with, on DeltaLite tables; fails below 98 % (CORPUS_ONLY=joins.slt for one file)
	DELTALITE_CORPUS=$(CORPUS) DELTALITE_CORPUS_ONLY=$(CORPUS_ONLY) $(CARGO) test --workspace --test corpus -- --ignored --nocapture

.PHONY: build
build: system ## Build the deltalite binary with the release profile
	$(CARGO) build --release -p deltalite
	@echo "built: $(CARGO_TARGET_DIR)/release/deltalite"

.PHONY: install
install: system ## Install the deltalite binary with cargo install
	$(CARGO) install --path engine --locked

.PHONY: wheel
wheel: system $(VENV)/made ## Build the Python package; the wheel is in target/wheels
	cd engine/python && $(VENV)/bin/maturin build --release --out $(CURDIR)/target/wheels

##@ The steps of `make test`

.PHONY: fmt-check
fmt-check: ## Formatting
	$(CARGO) fmt --all --check

.PHONY: clippy
clippy: system ## Lints as errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: doc-check
doc-check: system ## Documentation without warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

.PHONY: unit-test
unit-test: system-tests ## Unit, property and integration tests (cargo-nextest if it is there)
ifneq ($(HAS_NEXTEST),)
	$(CARGO) nextest run --workspace --no-fail-fast --no-tests=pass
else
	$(CARGO) test --workspace --lib --bins --tests --no-fail-fast
endif

.PHONY: doc-test
doc-test: system ## Examples in the documentation
	$(CARGO) test --workspace --doc

.PHONY: python-test
python-test: system $(VENV)/made ## The Python package, with pytest
	$(CARGO) build --workspace --lib --tests
	@mkdir -p target/python
	cp -r engine/python/python/deltalite target/python/
	cp $(CARGO_TARGET_DIR)/debug/lib_deltalite.so target/python/deltalite/_deltalite.abi3.so
	DELTALITE_PROGRAM=$(CARGO_TARGET_DIR)/debug/deltalite PYTHONPATH=$(CURDIR)/target/python $(VENV)/bin/python -m pytest -q -p no:cacheprovider engine/python/tests

$(VENV)/made:
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet $(PYTHON_PACKAGES)
	@touch $@

$(TPC_VENV)/made:
	$(PYTHON) -m venv --clear $(TPC_VENV)
	$(TPC_VENV)/bin/pip install --quiet $(TPC_PACKAGES)
	@touch $@

.PHONY: peers-check
peers-check: system ## Lint the adapters of the heavy peers, where their build requirement is installed
ifneq ($(strip $(HAS_LIBCLANG)),)
	$(CARGO) clippy -p deltalite-bench --features peers --all-targets -- -D warnings
else
	@echo "peers-check: skipped, libclang is not installed (make system-peers installs it)"
endif

##@ Further

.PHONY: micro
micro: system ## Criterion micro-benchmarks per encoding and kernel
	$(CARGO) bench -p deltalite-bench --benches

.PHONY: deny
deny: ## Licences, advisories and sources of all dependencies (needs cargo-deny)
	$(CARGO) deny check

.PHONY: gen
gen: system ## Generate the benchmark data only (SF=1)
	$(CARGO) run --release -p deltalite-bench -- gen --sf $(SF) --data-dir $(DATA_DIR)

.PHONY: clean-data
clean-data: ## Remove generated data and reports of this clone
	rm -rf $(DATA_DIR) $(REPORT_DIR)

# A package is installed only when what it provides is missing, so that machines without root or network
# work as soon as the packages are there.
.PHONY: system
system: ## Install missing system packages: libhwloc-dev, pkg-config, a C compiler
	@need=; \
	command -v cc >/dev/null || need="$$need build-essential"; \
	command -v $(PYTHON) >/dev/null && $(PYTHON) -c "import ensurepip" 2>/dev/null || need="$$need python3-venv"; \
	command -v pkg-config >/dev/null || need="$$need pkg-config"; \
	{ command -v pkg-config >/dev/null && pkg-config --exists hwloc; } || need="$$need libhwloc-dev"; \
	if [ -n "$$need" ]; then $(MAKE) --no-print-directory apt-install PACKAGES="$$need"; fi
	@command -v $(firstword $(CARGO)) >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

.PHONY: system-tests
system-tests: system ## As system, and iproute2 where root runs tests: they make hosts of network namespaces
	@if [ "$$(id -u)" = 0 ] && ! command -v ip >/dev/null; then $(MAKE) --no-print-directory apt-install PACKAGES="iproute2"; fi

.PHONY: system-peers
system-peers: system ## As system, and libclang for the peers
ifeq ($(strip $(HAS_LIBCLANG)),)
	@$(MAKE) --no-print-directory apt-install PACKAGES="libclang-dev"
endif

.PHONY: apt-install
apt-install:
	@command -v apt-get >/dev/null || { echo "please install by your system's package manager: $(PACKAGES)" >&2; exit 1; }
	@echo "installing:$(PACKAGES)"
	@$(SUDO) apt-get update -qq
	@$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES)

.PHONY: help
help: ## This text
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: SF=$(SF)  CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)"
