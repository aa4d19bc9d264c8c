#!/bin/bash
# All forms of the benchmark one after the other, then docs/benchmarks/: charts and figures.
#
#   benches/density.sh [N] [FORM]
#
# N: 10, 100 or 400; without it, or with `all`, all three. FORM: one of ctr, cri-host, cri-bridge, python, server and
# mounts; without it all of them. Those of 100 take about six minutes; 400 about fifteen more. Results of former runs
# stay in benches/results/density and on the page, until their form is run again. With WAMR_AOTC=FILE, the compiler,
# CPython runs compiled as well, which takes some minutes of compiling more, and starts with code are compared with
# interpreted ones.
set -euo pipefail
cd "$(dirname "$0")/.."
sizes=${1:-all}
only=${2:-}
results=benches/results/density
[[ $sizes == all ]] && sizes='10 100 400'

SHIM=${SHIM:-$(deploy/build.sh)}
export SHIM
failed=()

# The form's name, then what benches/run.sh is asked for.
form() {
    local name=$1 start=$SECONDS
    shift
    [[ -z $only || $only == "$name" ]] || return 0
    found=1
    printf '\n==== %s: benches/run.sh %s\n' "$name" "$*"
    benches/run.sh "$@" --check --results "$results" || failed+=("$name $1")
    printf '==== %s took %d s\n' "$name" $((SECONDS - start))
}

found=''
for n in $sizes; do
    # Of 400 one way of starting: by then times per container do not depend on the number any more.
    parallel=1,8,32
    stacks=(--stack wamr --stack runc)
    ((n > 100)) && parallel=8
    ((n == 100)) && stacks=(--stack wamr ${WAMR_AOTC:+--stack wamr:aot=eager} --stack floor --stack runc)
    form ctr "$n" --parallel "$parallel" "${stacks[@]}"
    form cri-host "$n" --through cri --parallel "$parallel" "${stacks[@]}"
    if ((n == 100)); then
        form cri-bridge 100 --through cri --network bridge --parallel 8 \
            --stack wamr --stack wamr-sandbox --stack runc
        form python 100 --workload python --parallel 8 --stack wamr --stack wamr:warm_start=true \
            ${WAMR_AOTC:+--stack wamr:aot=eager} --stack runc
        form server 100 --workload server --parallel 8
        form mounts 50 --mounts 5000 --parallel 1
    fi
done
if [[ -z $found ]]; then
    echo "no form $only of $sizes; there are ctr and cri-host, and of 100 cri-bridge, python, server and mounts" >&2
    exit 2
fi

"${CARGO_TARGET_DIR:-target}/test-release/density" plot --from "$results" --into docs/benchmarks
if ((${#failed[@]})); then
    printf 'broken promises or failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
