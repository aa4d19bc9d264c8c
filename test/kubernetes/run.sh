#!/bin/bash
# Pods on a real Kubernetes cluster, on each containerd in turn.
#
#   test/kubernetes/run.sh [--containerd 2.1.9|1.7.24|all] [--test NAME] [--if-built]
#
# NAME is part of a test's name. --if-built: if Kubernetes is not in the cache, say so and succeed instead of building it,
# which takes about 15 minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

containerd=all
name=''
if_built=''
while (($#)); do
    case $1 in
        --containerd) containerd=${2:?a version}; shift 2 ;;
        --test) name=${2:?a name}; shift 2 ;;
        --if-built) if_built=1; shift ;;
        *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
    esac
done
case $containerd in
    all) versions=(2.1.9 1.7.24) ;;
    2.1.9 | 1.7.24) versions=("$containerd") ;;
    *) echo "no kubelet here speaks to containerd $containerd; there are 2.1.9, 1.7.24 and all" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }

if ((EUID != 0)); then
    echo "the tests make namespaces, mounts and cgroups and run Kubernetes: run them as root" >&2
    exit 1
fi
if [[ -n $if_built ]] && ! test/kubernetes/build.sh path >/dev/null; then
    say "Kubernetes tests: SKIPPED, Kubernetes is not built here yet (make test-kubernetes builds it, about 15 minutes)"
    exit 0
fi

# Beds of this run end with their tests; those of killed ones end here.
trap 'test/bed/end.sh --orphans' EXIT
test/bed/end.sh --orphans

say "packages and components"
test/bed/packages.sh
test/bed/fetch.sh busybox
test/bed/fetch.sh cni
for version in "${versions[@]}"; do test/bed/fetch.sh containerd "$version"; done
test/kubernetes/fetch.sh >/dev/null
test/kubernetes/build.sh

say "building the shim"
shim=$(deploy/build.sh test-release)
SHIM_DIR=$(cd "$(dirname "$shim")" && pwd)
export SHIM_DIR

say "building the tests"
cargo test -p kubernetes --no-run

failed=()
for version in "${versions[@]}"; do
    say "Kubernetes on containerd $version"
    start=$SECONDS
    # Tests wait more than they work, so many run side by side. Nothing takes so long that is not stuck.
    CONTAINERD=$version timeout --kill-after=10 420 \
        cargo test -p kubernetes --test kubernetes -- --test-threads 8 ${name:+"$name"} || failed+=("$version")
    echo "Kubernetes on containerd $version: $((SECONDS - start)) s"
done

if ((${#failed[@]})); then
    say "FAILED on containerd ${failed[*]} (logs of all components: kubernetes-logs in cargo's target folder)"
    exit 1
fi
say "all passed on containerd ${versions[*]}"
