#!/bin/bash
# Installs the Debian packages that building and testing need. Silent when all are present.
set -euo pipefail

# clang, lld, wasi-libc, libclang-rt-14-dev-wasm32: C guests to wasm. libclang-dev: bindgen.
# libseccomp-dev: profiles of native containers. cmake, libsimde-dev: WAMR. protobuf-compiler: containerd's gRPC bindings of the tests.
packages=(
    build-essential clang lld libclang-dev cmake libsimde-dev pkg-config libseccomp-dev
    wasi-libc libclang-rt-14-dev-wasm32
    busybox-static patchelf iproute2 iptables openssl protobuf-compiler
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
    echo "these packages are missing and need root to install: ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
if ! install && ! { apt-get update -q >"$log" 2>&1 && install; }; then
    cat "$log" >&2
    echo "apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
