#!/bin/bash
# The first process of a node: in process, mount and network namespaces of its own, which end with it.
#
#   unshare --pid --fork --kill-child --mount --net test/kubernetes/node.sh FOLDER <PIPE
#
# Kubernetes and containerd write to paths that cannot be set. Here those lie in FOLDER, or in memory, so that nothing is
# left on the host, whichever way the node ends. It ends when whoever holds the pipe's other end is gone.
set -euo pipefail
folder=${1:?folder}
here=$(cd "$(dirname "$0")" && pwd)

mount --make-rprivate /
mount -t proc proc /proc
# Volumes are passed on from the kubelet to containers by mount propagation.
mount --make-rshared /
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/netns
for place in lib log; do
    mkdir -p "$folder/var/$place"
    mount --bind "$folder/var/$place" "/var/$place"
done

# The kubelet insists on these and would set them for the whole machine. It reads files of the node instead.
setting() {
    mkdir -p "$folder/sysctl"
    echo "$2" >"$folder/sysctl/${1//\//.}"
    mount --bind "$folder/sysctl/${1//\//.}" "/proc/sys/$1"
}
setting vm/overcommit_memory 1
setting vm/panic_on_oom 0
setting kernel/panic 10
setting kernel/panic_on_oops 1
setting kernel/keys/root_maxkeys 1000000
setting kernel/keys/root_maxbytes 25000000

# The node's address, and a way for what is sent to addresses of Services, which iptables turns elsewhere.
ip link set lo up
ip address add 10.99.0.1/32 dev lo
ip route add 10.96.0.0/16 dev lo src 10.99.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward
[[ -f /proc/sys/net/bridge/bridge-nf-call-iptables ]] && echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

echo ready
while read -r component; do
    "$here/component.sh" "$component" "$folder"
done
