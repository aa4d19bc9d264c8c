#!/bin/bash
# Ends a test bed: the processes that name its folder, the cgroups of its name, mounts below it, the folder.
#
#   test/bed/end.sh FOLDER CGROUP      one bed
#   test/bed/end.sh --orphans          beds in $TMPDIR whose owner (the process id in their name) is gone
#
# A bed is /tmp/wamr-bed-OWNER-NUMBER. Only processes with that path as part of an argument, and those in cgroups of
# that name, are ended, each by its id.
set -u

# Arguments of a process, one per line; nothing once it is gone.
arguments() { { tr '\0' '\n' <"$1"; } 2>/dev/null; }

# Ids of processes with the folder in an argument. The folder is followed by `/`, so beds cannot be mixed up.
named() {
    local file
    for file in /proc/[0-9]*/cmdline; do
        if [[ $(arguments "$file") == *"$1/"* ]]; then
            file=${file#/proc/}
            echo "${file%/cmdline}"
        fi
    done
}

cgroups_of() { find /sys/fs/cgroup -depth -type d -path "*/$1*" 2>/dev/null | grep -E "/$1(/|\$)"; }

confined() {
    cgroups_of "$1" | while read -r directory; do cat "$directory/cgroup.procs" 2>/dev/null; done | sort -u
}

end_bed() {
    local folder=$1 name=$2 round pids pid directory file
    [[ $name == wamr-bed-* && $folder == */"$name" ]] || { echo "not a test bed: $folder $name" >&2; return 1; }
    # containerd first, so that it does not clean up after the shims while they are ended.
    [[ -f $folder/containerd.pid ]] && pid=$(<"$folder/containerd.pid") && named "$folder" | grep -qx "$pid" && kill -KILL "$pid"
    for round in $(seq 100); do
        pids=$( { named "$folder"; confined "$name"; } | grep -vx -e "$$" -e "${BASHPID}" | sort -u)
        [[ -z $pids ]] && break
        for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
        sleep 0.05
    done
    awk -v folder="$folder/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r mount; do umount -l "$mount"; done
    for round in $(seq 100); do
        cgroups_of "$name" | while read -r directory; do rmdir "$directory" 2>/dev/null; done
        [[ -z $(cgroups_of "$name") ]] && break
        sleep 0.05
    done
    # Folders of shim servers that were killed: their logs begin with the socket they serve.
    grep -ls "$folder/containerd.sock" /run/containerd-shim-wamr/*/log | while read -r file; do
        rm -rf "${file%/log}"
    done
    rm -rf "$folder"
}

if [[ ${1:-} == --orphans ]]; then
    for folder in "${TMPDIR:-/tmp}"/wamr-bed-*; do
        [[ -d $folder ]] || continue
        name=${folder##*/}
        owner=${name#wamr-bed-}
        [[ -d /proc/${owner%%-*} ]] || end_bed "$folder" "$name"
    done
else
    end_bed "${1:?folder}" "${2:?cgroup}"
fi
