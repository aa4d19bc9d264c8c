# The commands of this project. `make help` lists them.
SHELL := /bin/bash
CONTAINERD ?= all
TEST ?=
N ?= 20

.DEFAULT_GOAL := help
.PHONY: help run test test-load test-cri test-cgroup2 test-kubernetes build build-aotc lint bench density bench-cpu clean packages

help: ## List the commands
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Set up and run one wasm container on a private containerd, and show what it costs
	@test/sample/run.sh

test: ## Everything: unit tests, then end to end on three containerd releases (CONTAINERD=2.1.9 TEST=name pick)
	@test/run.sh --containerd "$(CONTAINERD)" $(if $(TEST),--test "$(TEST)")

test-load: ## 1,000 containers, then 400 at once with 50 execs a second for a minute: what the server keeps of it
	@WAMR_TEST_FULL=1 test/run.sh --containerd "$(CONTAINERD:all=2.1.9)" --test load

test-cri: ## Pods through containerd's CRI plugin, as a kubelet makes them (CONTAINERD=2.1.9 TEST=name pick)
	@test/run.sh --suite cri --containerd "$(CONTAINERD)" $(if $(TEST),--test "$(TEST)")

test-cgroup2: packages ## On emulated hosts with cgroup v2 alone, without and with systemd
	@test/cgroup2/run.sh

test-kubernetes: ## Pods on a real Kubernetes cluster, on two containerd releases (CONTAINERD=2.1.9 TEST=name pick)
	@test/kubernetes/run.sh --containerd "$(CONTAINERD)" $(if $(TEST),--test "$(TEST)") $(if $(IF_BUILT),--if-built)

build: packages ## Build the release binary and say where it is
	@deploy/build.sh

build-aotc: packages ## Build wamr-aotc, the AOT compiler, with LLVM 19, and say where it is
	@deploy/aotc-packages.sh
	@deploy/build-aotc.sh

lint: packages ## rustfmt, clippy with all warnings as errors, licences and duplicates of dependencies
	@.ci/lint

bench: ## N containers through containerd: memory and start latency, beside runc + busybox (N=20)
	@benches/run.sh "$(N)"

density: ## All forms of that: CRI and ctr, 10, 100 and 400, other workloads, with charts in docs/benchmarks (N=100 FORM=cri-host pick)
	@benches/density.sh "$(if $(filter-out file default,$(origin N)),$(N),all)" $(FORM)

bench-cpu: packages ## Speed of guests: interpreted, at each tier, native -O3, wasmtime; what compiling costs (ARGS="--check")
	@benches/cpu/run.sh $(ARGS)

clean: ## Remove what was built here (downloads stay in the cache outside the checkout)
	cargo clean

packages:
	@test/bed/packages.sh
