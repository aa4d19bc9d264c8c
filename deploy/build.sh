#!/usr/bin/env bash
# Builds the release binaries: static and at a fixed address, so that containerd's many executions of the shim load no
# library and relocate nothing. Prints where the shim is; wamrctl is beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
profile="${1:-release}"
target=$(rustc -vV | sed -n 's/^host: //p')
flags="-C target-feature=+crt-static -C relocation-model=static"
variable="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")_RUSTFLAGS"
# Debian's libseccomp, which libcontainer calls: its archive is beside the shared library.
seccomp=$(pkg-config --variable=libdir libseccomp)
build() {
	env "$variable=$flags" LIBSECCOMP_LINK_TYPE=static "LIBSECCOMP_LIB_PATH=$seccomp" cargo build --locked --profile "$profile" --target "$target" "$@" >&2
}
if [[ $profile == release ]]; then
	# Apart: together, both would have what either asks of a library they share, and the shim would grow by 4 KiB.
	build -p containerd-shim-wamr-v1
	build -p wamrctl
else
	build -p containerd-shim-wamr-v1 -p wamrctl
fi
echo "${CARGO_TARGET_DIR:-target}/$target/$profile/containerd-shim-wamr-v1"
