#!/bin/bash
# N containers through a private containerd, ours and runc + busybox: memory, start-up, a table and JSON.
#
#   benches/run.sh N [--check] [--own-network] [--only wamr|runc]
#
# SHIM=FILE measures that shim; otherwise the release binary is built and measured.
set -euo pipefail
cd "$(dirname "$0")/.."
containers=${1:-20}
shift || true
release=${CONTAINERD:-2.1.9}

if ((EUID != 0)); then
    echo "make bench needs root: it starts a containerd and makes cgroups" >&2
    exit 1
fi
test/bed/packages.sh >&2
test/bed/fetch.sh containerd "$release"
test/bed/fetch.sh busybox
shim=${SHIM:-$(deploy/build.sh)}
echo "building the harness" >&2
cargo build --locked --quiet --profile test-release -p density
built=${CARGO_TARGET_DIR:-target}
guest=$built/bench-guests/hello.wasm
mkdir -p "${guest%/*}"
clang --target=wasm32-wasi -Os -Wall -Wl,--strip-all -o "$guest" benches/guests/hello.c

exec "$built/test-release/density" --containers "$containers" --shim "$shim" --guest "$guest" \
    --containerd "$(test/bed/fetch.sh path containerd "$release")" \
    --busybox "$(test/bed/fetch.sh path busybox)/busybox" --results benches/results "$@"
