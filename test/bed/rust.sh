#!/bin/bash
# Debian's Rust compiler with its standard library for wasm32-wasi, for guests in Rust: unpacked into the cache, not
# installed, so that no other compiler is in its way. Prints where it is; fetches it the first time.
set -euo pipefail

cache=${WAMR_TEST_CACHE:-${HOME:-/root}/.cache/containerd-shim-wamr}
root=$cache/rust-wasm/bookworm
# rustc, its own library, LLVM, and the standard library for guests.
packages=(rustc libstd-rust-1.63 libllvm14 libstd-rust-dev-wasm32)

mkdir -p "$cache/rust-wasm"
exec 9>"$cache/rust-wasm/lock"
flock 9
if [[ ! -f $root/complete ]]; then
    rm -rf "$root"
    mkdir -p "$root/packages"
    cd "$root/packages"
    echo "bed: Rust for wasm32-wasi" >&2
    get() { apt-get download -q -oAPT::Sandbox::User=root "${packages[@]}" >log 2>&1; }
    get || { apt-get update -q >>log 2>&1 && get; } || { cat log >&2; exit 1; }
    for package in *.deb; do dpkg -x "$package" "$root"; done
    rm -rf "$root/packages"
    touch "$root/complete"
fi
echo "$root"
