# What needs root runs through sudo unless you are root: apt-get, and tests and benchmarks of testbed emulated's labs.
.DEFAULT_GOAL := help
.PHONY: help reproduce test fuzz bench lint deb dist packages test-packages

EFFORT ?= quick
STUDY ?= experiments/paper.ncl
TIMES ?= 100

# Programs that cargo starts, as root. What a user may have set for vexp goes with it.
KEPT := VEXP_STORE,VEXP_RUNS,VEXP_IMAGES,VEXP_DEBIAN_MIRROR,NO_COLOR,http_proxy,https_proxy,no_proxy
KEPT := $(KEPT),VEXP_BENCH_RUN,VEXP_BENCH_COMMANDS,VEXP_BENCH_ROUNDS
ifneq ($(shell id -u),0)
AS_ROOT := --config 'target."cfg(all())".runner = ["sudo", "--preserve-env=$(KEPT)"]'
endif

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 16

# 1 and 5 are verdicts on the paper's claims, not failures of the run.
reproduce: packages ## Rerun the paper: install what is missing, build, measure, report (EFFORT=quick)
	cargo build --locked
	@cargo run --locked --quiet -- reproduce $(STUDY) --effort $(EFFORT); \
	code=$$?; case $$code in 0 | 1 | 5) ;; *) exit $$code ;; esac

# Tests that boot machines are marked `ignore`, so that `cargo test` alone needs neither root nor QEMU. They measure:
# they run after the others and one at a time.
test: test-packages lint ## Every test, with the end-to-end runs on real hypervisors
	cargo test --workspace --locked
ifdef CI
	VEXP_FUZZ=1 cargo test --workspace --locked --lib --test run --test specs -- changed_ any_bytes
endif
	scripts/check-crate
	cargo test --package vexp --locked --test 'e2e*' $(AS_ROOT) -- --ignored --test-threads=1

lint: ## Formatting, clippy; licences and spelling where cargo-deny and typos are installed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	@if command -v cargo-deny > /dev/null; then cargo deny check; else echo 'skipped: cargo-deny is not installed'; fi
	@if command -v typos > /dev/null; then typos; else echo 'skipped: typos is not installed'; fi

# `make test` tries the same cases each time, and new ones where `CI` is set; what these find becomes a test of its own.
fuzz: test-packages ## What properties promise, on new random cases, TIMES as many (TIMES=100)
	VEXP_FUZZ=$(TIMES) cargo test --workspace --locked --no-fail-fast

bench: test-packages ## Times of check, plan, warm build, parsers beside jc, start to the first packet; a hundred machines; a cluster
	scripts/load-tools
	scripts/parser-tools
	cargo bench --locked --workspace --bench bench --bench load --bench cluster $(AS_ROOT)

deb: ## A Debian package in target/debian; needs cargo-deb
	scripts/package-deb

dist: ## vexp as one static file in target/dist, for any Linux
	scripts/dist

packages: ## Install what `make reproduce` needs
	@scripts/install-packages run

test-packages: ## Install what `make test` needs
	@scripts/install-packages test
