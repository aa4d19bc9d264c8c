#!/bin/bash
# N containers or pods through a private containerd, ours and others: memory, start-up, a table and JSON.
#
#   benches/run.sh N [--through ctr|cri] [--network host|own|bridge] [--workload hello|python|server]
#                    [--parallel N,N…] [--stack NAME]… [--mounts N] [--check] [--results FOLDER]
#
# SHIM=FILE measures that shim; otherwise the release binary is built and measured. WAMR_AOTC=FILE is the compiler for
# stacks that run compiled. README.md explains the options.
set -euo pipefail
cd "$(dirname "$0")/.."
containers=${1:-20}
shift || true
release=${CONTAINERD:-2.1.9}

if ((EUID != 0)); then
    echo "benchmarks need root: they start a containerd and make cgroups" >&2
    exit 1
fi
test/bed/packages.sh >&2
test/bed/fetch.sh containerd "$release"
test/bed/fetch.sh busybox
path() { test/bed/fetch.sh path "$@"; }
more=()
case " $* " in *" cri "*) test/bed/fetch.sh cni; more+=(--cni "$(path cni)") ;; esac
case " $* " in *" python "*)
    test/bed/fetch.sh python
    more+=(--python-module "$(path python)/python.wasm" --python-root "$(path python)/root") ;;
esac
[[ -n ${WAMR_AOTC:-} ]] && more+=(--compiler "$WAMR_AOTC")
shim=${SHIM:-$(deploy/build.sh)}
echo "building the harness" >&2
cargo build --locked --quiet --profile test-release -p density
built=${CARGO_TARGET_DIR:-target}
guests=$built/bench-guests
mkdir -p "$guests"
for guest in hello server; do
    clang --target=wasm32-wasi -Os -Wall -Wl,--strip-all -o "$guests/$guest.wasm" "benches/guests/$guest.c"
done

command=("$built/test-release/density" --containers "$containers" --shim "$shim" --guests "$guests"
    --containerd "$(path containerd "$release")" --busybox "$(path busybox)/busybox"
    --results benches/results "${more[@]}" "$@")
# Thousands of mounts are made where nobody else sees them.
case " $* " in *" --mounts "*) command=(unshare --mount --propagation private "${command[@]}") ;; esac
exec "${command[@]}"
