#!/bin/bash
# Everything there is to test: the workspace's unit tests, then end to end on real containerd.
#
# With WAMR_TEST_FULL in the environment tests of load and of time run in full, and say what they measure.
#
#   test/run.sh [--containerd 2.1.9|1.7.24|1.6.20|all] [--suite e2e|cri] [--test NAME]
#
# Suites: e2e asks containerd for containers, cri for pods, as a kubelet does. With a suite, or with NAME, which is a
# file of test/SUITE/tests (memory) or part of a test's name, only those tests run.
set -euo pipefail
cd "$(dirname "$0")/.."

containerd=all
name=''
suites=()
while (($#)); do
    case $1 in
        --containerd) containerd=${2:?a version}; shift 2 ;;
        --suite) suites=("${2:?a suite}"); shift 2 ;;
        --test) name=${2:?a name}; shift 2 ;;
        *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
    esac
done
case $containerd in
    all) versions=(2.1.9 1.7.24 1.6.20) ;;
    2.1.9 | 1.7.24 | 1.6.20) versions=("$containerd") ;;
    *) echo "no containerd $containerd here; there are 2.1.9, 1.7.24, 1.6.20 and all" >&2; exit 2 ;;
esac

case ${suites[*]:-all} in
    all | e2e | cri) ;;
    *) echo "no suite ${suites[*]}; there are e2e and cri" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }

if ((EUID != 0)); then
    echo "the tests make namespaces, mounts and cgroups and run containerd: run them as root" >&2
    exit 1
fi
command -v cargo >/dev/null || {
    echo "no Rust toolchain: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2
    exit 1
}

# Beds of this run end with their tests; those of killed ones end here.
trap 'test/bed/end.sh --orphans' EXIT
test/bed/end.sh --orphans

say "packages and components"
test/bed/packages.sh
test/bed/fetch.sh busybox
test/bed/fetch.sh cni
for version in "${versions[@]}"; do test/bed/fetch.sh containerd "$version"; done

say "building the shim"
shim=$(deploy/build.sh test-release)
SHIM_DIR=$(cd "$(dirname "$shim")" && pwd)
export SHIM_DIR

say "building the AOT compiler"
deploy/aotc-packages.sh
WAMR_AOTC=$(deploy/build-aotc.sh)
export WAMR_AOTC

if [[ -z $name && ${#suites[@]} == 0 ]]; then
    say "unit tests"
    cargo test --workspace --exclude e2e --exclude cri --exclude kubernetes
fi
((${#suites[@]})) || suites=(e2e cri)

# The same packages each time: with others, cargo would build their dependencies with other features, so anew.
arguments=(test "${suites[@]/#/--package=}")
say "building the tests of ${suites[*]}"
cargo "${arguments[@]}" --no-run

if compgen -G "test/*/tests/${name:-none}.rs" >/dev/null; then
    arguments+=(--test "$name")
elif [[ -n $name ]]; then
    arguments+=(-- "$name")
else
    arguments+=(--no-fail-fast)
fi
if [[ -n ${WAMR_TEST_FULL:-} && ${arguments[*]} == *--test* ]]; then arguments+=(-- --nocapture); fi

failed=()
for version in "${versions[@]}"; do
    say "${suites[*]} on containerd $version"
    start=$SECONDS
    # Nothing takes so long that is not stuck.
    CONTAINERD=$version timeout --kill-after=10 1500 cargo "${arguments[@]}" || failed+=("$version")
    echo "containerd $version: $((SECONDS - start)) s"
done

if ((${#failed[@]})); then
    say "FAILED on containerd ${failed[*]} (containerd's logs: e2e-logs in cargo's target folder)"
    exit 1
fi
say "all passed on containerd ${versions[*]}"
