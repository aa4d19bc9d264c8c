# Packages of any Debian release, unpacked into folders; the machine's own package state is neither read nor changed.
# To be sourced; sets `cache`, the folder outside the checkout that all tests share.
#
#   update SUITE                     fetch its package lists, once per run; SUITE-src: source packages as well
#   exact_version SUITE PACKAGE V    the newest package version whose upstream part is V, or nothing
#   download SUITE PACKAGE...        the packages themselves, into the working directory
#   unpack SUITE PACKAGE FOLDER      a package's files, below a folder

cache=${WAMR_TEST_CACHE:-${HOME:-/root}/.cache/containerd-shim-wamr}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

say() { echo "bed: $*" >&2; }
die() { say "$*"; exit 1; }

# apt of another suite: own sources, lists, cache and an empty status file.
suite_apt() {
    local suite=$1 command=$2 state=$cache/apt/$1 kind kinds=deb
    shift 2
    [[ $suite == *-src ]] && kinds="deb deb-src"
    mkdir -p "$state"/{lists/partial,archives/partial}
    [[ -f $state/status ]] || : >"$state/status"
    for kind in $kinds; do
        echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${suite%-src} main"
    done >"$state/sources.list"
    "$command" -q \
        -oDir::Etc::sourcelist="$state/sources.list" -oDir::Etc::sourceparts=/dev/null \
        -oDir::Etc::preferencesparts=/dev/null -oDir::Etc::preferences=/dev/null \
        -oDir::State="$state" -oDir::State::Lists="$state/lists" -oDir::State::status="$state/status" \
        -oDir::Cache="$state" -oDir::Cache::archives="$state/archives" \
        -oAPT::Sandbox::User=root -oAcquire::Languages=none -oAcquire::Retries=3 "$@"
}

# Package lists are asked for once per run and suite.
declare -A updated=()
update() {
    [[ -n ${updated[$1]:-} ]] && return
    say "package lists of $1"
    suite_apt "$1" apt-get update >"$cache/apt-$1.log" 2>&1 || { cat "$cache/apt-$1.log" >&2; return 1; }
    updated[$1]=1
}

exact_version() {
    suite_apt "$1" apt-cache madison "$2" 2>/dev/null | awk -v want="$3" '
        { version = $3; upstream = version; sub(/^[0-9]+:/, "", upstream); sub(/[~+-].*/, "", upstream)
          if (upstream == want) { print version; exit } }'
}

download() {
    local suite=$1 log
    shift
    log=$(suite_apt "$suite" apt-get download "$@" 2>&1) || { echo "$log" >&2; return 1; }
}

unpack() {
    local suite=$1 package=$2 into=$3 work
    work=$(mktemp -d "$cache/unpack.XXXXXX")
    (cd "$work" && download "$suite" "$package") || { rm -rf "$work"; return 1; }
    mkdir -p "$into"
    dpkg -x "$work"/*.deb "$into"
    rm -rf "$work"
}
