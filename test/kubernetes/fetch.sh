#!/bin/bash
# Brings etcd and kubectl of bookworm into the tests' cache, and prints the folder of their programs.
# The rest of Kubernetes is in no binary package: see build.sh.
set -euo pipefail
# shellcheck source=test/bed/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../bed/suite.sh"

root=$cache/kubernetes/bookworm
mkdir -p "$cache/apt"
exec 9>"$cache/lock"
flock 9
if [[ ! -f $root/complete ]]; then
    rm -rf "$root"
    update bookworm || die "the mirror $mirror has no usable bookworm"
    say "etcd and kubectl of bookworm"
    unpack bookworm etcd-server "$root/deb"
    unpack bookworm kubernetes-client "$root/deb"
    mkdir -p "$root/bin"
    mv "$root"/deb/usr/bin/{etcd,kubectl} "$root/bin/"
    rm -rf "$root/deb"
    touch "$root/complete"
fi
echo "$root/bin"
