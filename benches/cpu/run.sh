#!/bin/bash
# Speed of guests: interpreted, compiled at each tier, native, by wasmtime; a table, JSON and a plot.
#
#   benches/cpu/run.sh [--only GUEST]... [--repeat N] [--full] [--check]
#
# RESULTS=FOLDER for the reports (docs/benchmarks); NO_CPYTHON=1 leaves CPython out. --full: CPython at the top tier too, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=${RESULTS:-docs/benchmarks}
wasmtime=50.0.1
parts=${WAMR_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/containerd-shim-wamr}/bench-cpu
guests=${CARGO_TARGET_DIR:-target}/bench-cpu
# Nothing may fuse multiplications and additions, which wasm does not have: all must compute the same.
flags=(-O3 -ffp-contract=off -Wall -Wextra)

deploy/aotc-packages.sh >&2
aotc=$(deploy/build-aotc.sh)
echo "building the harness and the guests" >&2
cargo build --locked --quiet --profile test-release -p cpu
mkdir -p "$parts" "$guests"
for source in benches/cpu/kernels/*.c; do
    guest=$guests/$(basename "$source" .c)
    clang --target=wasm32-wasi -msimd128 "${flags[@]}" -Wl,--strip-all -o "$guest.wasm" "$source"
    clang "${flags[@]}" -o "$guest.native" "$source" -lm
    clang -march=native "${flags[@]}" -o "$guest.march" "$source" -lm
done
if [[ ! -e $parts/wasmtime-$wasmtime/complete ]]; then
    rm -rf "$parts/wasmtime-$wasmtime"
    python3 -m venv "$parts/wasmtime-$wasmtime"
    "$parts/wasmtime-$wasmtime/bin/pip" install --quiet --disable-pip-version-check "wasmtime==$wasmtime"
    touch "$parts/wasmtime-$wasmtime/complete"
fi
python=()
if [[ -z ${NO_CPYTHON:-} ]]; then
    test/bed/fetch.sh python >&2
    module=$(test/bed/fetch.sh path python)
    python=(--cpython "$module/python.wasm")
fi

exec "${CARGO_TARGET_DIR:-target}/test-release/cpu" --guests "$guests" --aotc "$aotc" --results "$results" \
    --python "$parts/wasmtime-$wasmtime/bin/python" --script benches/cpu/wasmtime_guest.py "${python[@]}" "$@"
