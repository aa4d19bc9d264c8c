#!/bin/bash
# Tests on hosts that have cgroup v2 alone, without and with systemd: each is emulated by qemu, in software.
#
#   test/cgroup2/run.sh [plain] [systemd]      both by default
#
# SHIM is the static binary under test; without it, deploy/build.sh makes one. Exit status 0 if every check passed.
# What is booted is kept in ${WAMR_TEST_CACHE:-~/.cache/containerd-shim-wamr}/cgroup2; KERNEL_SUITE picks a kernel.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/test/cgroup2
limit=${WAMR_CGROUP2_SECONDS:-400}
say() { echo "cgroup2: $*"; }

missing=()
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
command -v mke2fs >/dev/null || missing+=(e2fsprogs)
if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi

# Anything that goes into the image is part of its name.
key=$(cat "$here/image.sh" "$here/guest/initrd-init" <(echo "${KERNEL_SUITE:-}") | sha256sum | cut -c1-16)
kept=${WAMR_TEST_CACHE:-${HOME:-/root}/.cache/containerd-shim-wamr}/cgroup2
if [[ ! -f $kept/$key/complete ]]; then
    say "making the image"
    rm -rf "${kept:?}/$key"
    mkdir -p "$kept/$key"
    "$here/image.sh" "$kept/$key"
    touch "$kept/$key/complete"
fi
boot=$kept/$key

shim=${SHIM:-$(deploy/build.sh test-release)}
say "shim: $shim"
say "building the tests of crates/cgroup"
host=$(rustc -vV | sed -n 's/^host: //p')
tests=$(RUSTFLAGS='-C target-feature=+crt-static' cargo test --locked -q --no-run -p cgroup --lib --target "$host" \
    --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
say "building what changes a task's limits"
# As deploy/build.sh builds wamrctl, which has the same libraries.
RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' cargo build --locked -q --profile test-release -p e2e \
    --example update_task --target "$host"
update=${CARGO_TARGET_DIR:-target}/$host/test-release/examples/update_task
test/bed/fetch.sh busybox

work=$(mktemp -d)
qemu=''
finish() {
    [[ -n $qemu ]] && kill -KILL "$qemu" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

# The second disk: what is under test.
mkdir -p "$work/disk"/{bin,guests/bin}
cp "$shim" "$work/disk/bin/containerd-shim-wamr-v1"
cp "$(dirname "$shim")/wamrctl" "$work/disk/bin/"
cp "$tests" "$work/disk/bin/cgroup-tests"
cp "$update" "$work/disk/bin/update_task"
cp -r "$here/guest" "$work/disk/guest"
for guest in hello exit wait grow dirty warm; do
    clang --target=wasm32-wasi -O1 -o "$work/disk/guests/$guest.wasm" "test/guests/$guest.c"
done
# The image's own, for native containers.
cp "$(test/bed/fetch.sh path busybox)/busybox" "$work/disk/guests/bin/"
for command in sh cat dd head ls mknod sleep wc; do ln -s busybox "$work/disk/guests/bin/$command"; done
"$here/oci-image.sh" "$work/disk/guests" "$work/disk/guests.tar"
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$work/disk" "$work/test.ext4" 96M >&2

(($#)) || set -- plain systemd
status=0
for mode; do
    init=/test/guest/init
    [[ $mode == systemd ]] && init=/test/guest/systemd-init
    say "booting ($mode), $limit seconds at most"
    began=$SECONDS
    # -snapshot: neither disk is changed.
    qemu-system-x86_64 -accel tcg -cpu max -smp 2 -m 1024 -nodefaults -no-reboot -display none \
        -serial "file:$work/console" -snapshot -kernel "$boot/vmlinuz" -initrd "$boot/initrd" \
        -drive "file=$boot/root.ext4,format=raw,if=virtio" -drive "file=$work/test.ext4,format=raw,if=virtio" \
        -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all init=$init wamr.mode=$mode ${WAMR_CGROUP2_APPEND:-}" &
    qemu=$!
    while kill -0 "$qemu" 2>/dev/null && ((SECONDS - began < limit)); do sleep 0.2; done
    kill -KILL "$qemu" 2>/dev/null && say "not done within $limit s"
    wait "$qemu" || true
    qemu=''
    tr -d '\r' <"$work/console"
    if ! grep -aqE '^[0-9]+ passed, 0 failed' "$work/console"; then
        say "$mode FAILED"
        status=1
    fi
    say "$mode took $((SECONDS - began)) s"
done
exit "$status"
