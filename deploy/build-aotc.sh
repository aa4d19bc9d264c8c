#!/usr/bin/env bash
# Builds the AOT compiler: static, with LLVM inside. Prints where it is. Takes minutes the first time; the result
# is kept outside the checkout under a digest of everything that goes into it.
set -euo pipefail
cd "$(dirname "$0")/.."
llvm_config="${LLVM_CONFIG:-llvm-config-19}"
version=$("$llvm_config" --version 2>/dev/null) || {
	echo "no $llvm_config: deploy/aotc-packages.sh installs LLVM 19 on Debian" >&2
	exit 1
}
inputs=(Cargo.lock rust-toolchain.toml crates/aot/Cargo.toml crates/aot/build crates/aot/src/compiler.rs crates/aot/src/tier.rs crates/aotc crates/jail/src
	crates/wamr-sys/build.rs cmd/wamr-aotc "$0")
key=$( (echo "$version" && find "${inputs[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
	sha256sum | cut -c1-16)
cache="${WAMR_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/containerd-shim-wamr}/aotc"
kept="$cache/$key/wamr-aotc"
if [[ ! -x $kept ]]; then
	target=$(rustc -vV | sed -n 's/^host: //p')
	flags="-C target-feature=+crt-static -C relocation-model=static"
	variable="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")_RUSTFLAGS"
	env "$variable=$flags" cargo build --locked --release --target "$target" -p wamr-aotc --features llvm >&2
	mkdir -p "$cache/$key"
	# Those of other sources are of no use after a while.
	find "$cache" -mindepth 1 -maxdepth 1 ! -name "$key" -mtime +2 -exec rm -rf {} +
	draft=$(mktemp "$cache/$key/draft.XXXXXX")
	cp "${CARGO_TARGET_DIR:-target}/$target/release/wamr-aotc" "$draft"
	chmod 755 "$draft"
	mv "$draft" "$kept"
fi
echo "$kept"
