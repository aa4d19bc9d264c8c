#!/bin/bash
# Everything there is to test: the workspace's unit tests, then end to end on real containerd.
#
# With WAMR_TEST_FULL in the environment tests of load and of time run in full, and say what they measure.
#
#   test/run.sh [--containerd 2.1.9|1.7.24|1.6.20|all] [--test NAME]
#
# NAME is a file of test/e2e/tests (memory), or part of a test's name; with it, only end-to-end tests run.
set -euo pipefail
cd "$(dirname "$0")/.."

containerd=all
name=''
while (($#)); do
    case $1 in
        --containerd) containerd=${2:?a version}; shift 2 ;;
        --test) name=${2:?a name}; shift 2 ;;
        *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
    esac
done
case $containerd in
    all) versions=(2.1.9 1.7.24 1.6.20) ;;
    2.1.9 | 1.7.24 | 1.6.20) versions=("$containerd") ;;
    *) echo "no containerd $containerd here; there are 2.1.9, 1.7.24, 1.6.20 and all" >&2; exit 2 ;;
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
for version in "${versions[@]}"; do test/bed/fetch.sh containerd "$version"; done

say "building the shim"
shim=$(deploy/build.sh test-release)
SHIM_DIR=$(cd "$(dirname "$shim")" && pwd)
export SHIM_DIR

if [[ -z $name ]]; then
    say "unit tests"
    cargo test --workspace --exclude e2e --exclude kubernetes
fi

arguments=(test -p e2e)
if [[ -f test/e2e/tests/$name.rs ]]; then
    arguments+=(--test "$name")
elif [[ -n $name ]]; then
    arguments+=(-- "$name")
else
    arguments+=(--no-fail-fast)
fi
if [[ -n ${WAMR_TEST_FULL:-} && -f test/e2e/tests/$name.rs ]]; then arguments+=(-- --nocapture); fi
say "building the end-to-end tests"
cargo test -p e2e --no-run

failed=()
for version in "${versions[@]}"; do
    say "end to end on containerd $version"
    start=$SECONDS
    # Nothing takes so long that is not stuck.
    CONTAINERD=$version timeout --kill-after=10 900 cargo "${arguments[@]}" || failed+=("$version")
    echo "containerd $version: $((SECONDS - start)) s"
done

if ((${#failed[@]})); then
    say "FAILED on containerd ${failed[*]} (containerd's logs: e2e-logs in cargo's target folder)"
    exit 1
fi
say "all passed on containerd ${versions[*]}"
