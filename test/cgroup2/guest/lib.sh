# What both sets of checks use: counting, a containerd of their own, and short words for ctr.
passed=0 failed=0
image=docker.io/library/guests:latest
tree=/sys/fs/cgroup
log=/run/containerd.log

# verdict NAME: the state of the last command decides; on a failure $why is shown.
verdict() {
    if [ $? = 0 ]; then
        passed=$((passed + 1))
        echo "ok $(now): $1"
    else
        failed=$((failed + 1))
        echo "FAILED $(now): $1: $(printf %s "$why" | tail -n 5)"
    fi
    why=
}

# Seconds since the boot.
now() { cut -d' ' -f1 /proc/uptime; }

# equal ACTUAL EXPECTED
equal() { why="got '$1', expected '$2'"; [ "$1" = "$2" ]; }

# eventually SECONDS COMMAND...: tries until it succeeds.
eventually() {
    local left=$(($1 * 10)); shift
    while [ $left -gt 0 ]; do
        "$@" && return 0
        sleep 0.1
        left=$((left - 1))
    done
    why="never within the time: $*"
    return 1
}

start_containerd() {
    mkdir -p /run/c
    cat >/run/c/config.toml <<C
version = 2
root = "/var/lib/c"
state = "/run/c/state"
disabled_plugins = ["io.containerd.grpc.v1.cri","io.containerd.cri.v1.runtime","io.containerd.cri.v1.images"]
[grpc]
address = "/run/containerd/containerd.sock"
C
    containerd -c /run/c/config.toml >$log 2>&1 &
    containerd_pid=$!
    eventually 60 ctr version >/dev/null 2>&1
    why=$(tail -n 5 $log); [ -S /run/containerd/containerd.sock ]; verdict "containerd is up"
    why=$(ctr image import --all-platforms /test/guests.tar 2>&1); verdict "the image is imported"
    ctr events >/run/events 2>&1 &
    events_pid=$!
}

stop_containerd() {
    kill "$events_pid" "$containerd_pid"
    wait "$containerd_pid"
}

# run [FLAGS] ID COMMAND...; FLAGS come as one word list in $flags.
run() { ctr run --runtime io.containerd.wamr.v1 $flags "$image" "$@"; }
start() { why=$(flags="-d $flags" run "$@" 2>&1); }
pid_of() { ctr task ls | awk -v id="$1" '$1 == id { print $2 }'; }
state_of() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }
is_state() { [ "$(state_of "$1")" = "$2" ]; }
is_no() { [ "$(state_of "$1")" != "$2" ]; }
gone() { [ ! -e "$1" ]; }
# Ends a detached container and removes it.
end() {
    ctr task kill -s SIGKILL "$1" >/dev/null 2>&1
    eventually 10 is_state "$1" STOPPED
    why=$(ctr task rm "$1" 2>&1; ctr container rm "$1" 2>&1)
}
cgroup_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }
# Its events so far, without /tasks/.
events_of() { grep "\"$1\"" /run/events | grep -o '/tasks/[a-z-]*' | cut -d/ -f3 | tr '\n' ' '; }
# saw ID EVENT: it arrives within ten seconds.
saw() { eventually 10 grep -q "/tasks/$2 .*\"$1\"" /run/events; }
