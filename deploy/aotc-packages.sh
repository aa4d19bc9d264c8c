#!/usr/bin/env bash
# Installs the Debian packages that building the AOT compiler needs beside those of test/bed/packages.sh. Silent when
# all are present.
set -euo pipefail

# LLVM 19 is in bookworm. Its static libraries want the others to link.
packages=(llvm-19-dev libpolly-19-dev zlib1g-dev libzstd-dev)

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
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
if ! install && ! { apt-get update -q >"$log" 2>&1 && install; }; then
	cat "$log" >&2
	echo "apt-get could not install: ${missing[*]}" >&2
	exit 1
fi
