#!/bin/bash
# `make run`: one wasm container on a private containerd 2.1.9, and what it costs. Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/../.."

release=2.1.9
step() { printf '\n== %s\n' "$*"; }

if ((EUID != 0)); then
    echo "this starts containerd and a container: run it as root" >&2
    exit 1
fi
command -v cargo >/dev/null || {
    echo "no Rust toolchain: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2
    exit 1
}

step "packages, and containerd $release from Debian's mirror (kept in ~/.cache)"
test/bed/packages.sh
test/bed/fetch.sh containerd "$release"
bin=$(test/bed/fetch.sh path containerd "$release")

step "building the shim (minutes the first time)"
shim=$(deploy/build.sh release)
shim=$(realpath "$shim")
echo "$shim, $(($(stat -c %s "$shim") / 1024)) KiB"

# The name tells test/bed/end.sh whose it is, should this script be killed.
name=wamr-bed-$$-0
bed=${TMPDIR:-/tmp}/$name
trap 'test/bed/end.sh "$bed" "$name"' EXIT
trap 'exit 130' INT TERM
test/bed/end.sh --orphans
mkdir -p "$bed"

step "starting containerd $release in $bed"
cat >"$bed/config.toml" <<END
version = 3
root = "$bed/root"
state = "$bed/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
    "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
address = "$bed/containerd.sock"
END
PATH=$(dirname "$shim"):$bin:$PATH "$bin/containerd" --config "$bed/config.toml" </dev/null >"$bed/containerd.log" 2>&1 &
daemon=$!
# bash would report its end by SIGKILL.
disown "$daemon"
echo "$daemon" >"$bed/containerd.pid"
ctr() { "$bin/ctr" --address "$bed/containerd.sock" --namespace sample "$@"; }
until ctr version >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || { cat "$bed/containerd.log" >&2; exit 1; }
    sleep 0.1
done

step "compiling test/sample/hello.c to wasm and making an image of it"
clang --target=wasm32-wasi -O2 -s -o "$bed/hello.wasm" test/sample/hello.c
image=sample.local/hello:1
test/sample/image.sh "$bed/hello.wasm" "$image" "$bed/hello.tar"
ctr images import "$bed/hello.tar"

step "ctr run --rm --runtime io.containerd.wamr.v1 $image hello /app.wasm one two"
mkfifo "$bed/input"
# The guest ends when its input does, and this holds it open.
exec {input}<>"$bed/input"
"$bin/ctr" --address "$bed/containerd.sock" --namespace sample run --rm --runtime io.containerd.wamr.v1 \
    --cgroup "/$name/hello" --memory-limit $((64 << 20)) --fifo-dir "$bed/fifo" \
    "$image" hello /app.wasm one two <"$bed/input" >"$bed/output" 2>&1 {input}>&- &
client=$!
until grep -q two "$bed/output"; do
    kill -0 "$client" 2>/dev/null || { cat "$bed/output" >&2; exit 1; }
    sleep 0.05
done
cat "$bed/output"

guest=$(ctr task ls | awk '$1 == "hello" { print $2 }')
server=$(awk '/^PPid:/ { print $2 }' "/proc/$guest/status")
pss() { awk '/^Pss:/ { print $2 " KiB" }' "/proc/$1/smaps_rollup"; }

step "processes (PSS: memory, what is shared divided by who shares it)"
line() { printf '%-40s pid %-8s %12s\n' "$1" "$2" "$(pss "$2")"; }
line "containerd" "$daemon"
line "  server of all containers" "$server"
for child in $(cat /proc/"$server"/task/*/children); do
    [[ $child == "$guest" ]] && line "    the container" "$child" || line "    $(cat "/proc/$child/comm")" "$child"
done

step "memory of the container's cgroup, kernel memory included"
for file in "/sys/fs/cgroup/memory/$name/hello/memory.usage_in_bytes" "/sys/fs/cgroup/$name/hello/memory.current"; do
    [[ -f $file ]] && echo "$(($(<"$file") / 1024)) KiB"
done

step "closing the guest's input"
exec {input}>&-
code=0
wait "$client" || code=$?
tail -n 1 "$bed/output"
step "exit code $code"
[[ $code == 42 ]] || { echo "expected 42" >&2; exit 1; }
