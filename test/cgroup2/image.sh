#!/bin/bash
# Makes what the emulated host boots from: kernel, initial RAM disk and root image, all of Debian's packages.
#
#   test/cgroup2/image.sh FOLDER      the folder gets `vmlinuz`, `initrd` and `root.ext4`
#
# Called by run.sh, which keeps the folder. KERNEL_SUITE picks the kernel: bookworm (6.1) or a later release.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?a folder}
suite=bookworm
kernel_suite=${KERNEL_SUITE:-bookworm}
containerd=2.1.9

# shellcheck source=test/bed/suite.sh
source "$here/../bed/suite.sh"
fetch="$here/../bed/fetch.sh"
mkdir -p "$cache/apt"
"$fetch" containerd "$containerd"
"$fetch" busybox
busybox=$("$fetch" path busybox)/busybox
exec 9>"$cache/lock"
flock 9
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The newest kernel behind the meta package.
update "$kernel_suite"
kernel=$(suite_apt "$kernel_suite" apt-cache depends linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }')
say "$kernel of $kernel_suite"
unpack "$kernel_suite" "$kernel" "$work/kernel"
cp "$work"/kernel/boot/vmlinuz-* "$out/vmlinuz"

# The disks' driver and overlayfs are modules of that kernel, ext4 is built in. Each after what it needs.
mkdir -p "$work/initrd"/{bin,modules,proc,dev,root}
cp "$busybox" "$work/initrd/bin/busybox"
number=10
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk overlay; do
    file=$(find "$work/kernel" -name "$module.ko*")
    number=$((number + 1))
    case $file in
        '') ;; # built into this one
        *.xz) xz -dc "$file" >"$work/initrd/modules/$number-$module.ko" ;;
        *) cp "$file" "$work/initrd/modules/$number-$module.ko" ;;
    esac
done
cp "$here/guest/initrd-init" "$work/initrd/init"
(cd "$work/initrd" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1 >"$out/initrd")

# systemd and all it needs, unpacked without any maintainer script: accounts are made here.
update "$suite"
say "systemd of $suite"
mkdir -p "$work/debs/partial" "$work/root"
suite_apt "$suite" apt-get install -y --download-only --no-install-recommends -oDir::Cache::archives="$work/debs" \
    systemd dbus >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
# Debian's merged /usr has to be there before the first package.
mkdir -p "$work/root/usr"/{bin,sbin,lib,lib64}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$work/root/$name"; done
for package in "$work"/debs/*.deb; do
    case ${package##*/} in
        *perl* | usrmerge* | debconf* | dpkg* | adduser* | passwd*) ;; # of use to maintainer scripts only
        *) dpkg --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$work/root" ;;
    esac
done
cp "$("$fetch" path containerd "$containerd")"/{containerd,ctr} "$busybox" "$work/root/usr/bin/"
rm -rf "$work"/root/usr/share/{doc,man,locale,info,i18n} "$work"/root/usr/lib/x86_64-linux-gnu/gconv
rm -rf "$work"/root/usr/lib/udev/hwdb.d
cd "$work/root"
mkdir -p proc sys dev run tmp root test var/lib var/tmp etc
printf 'root:x:0:0:root:/root:/bin/sh\nmessagebus:x:101:101::/:/bin/false\n' >etc/passwd
printf 'root:x:0:\nmessagebus:x:101:\n' >etc/group
echo wamr-cgroup2 >etc/hostname
echo 0123456789abcdef0123456789abcdef >etc/machine-id
mke2fs -q -t ext4 -O ^has_journal -m 0 -d . "$out/root.ext4" 384M
