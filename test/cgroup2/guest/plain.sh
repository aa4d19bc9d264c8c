# Without systemd: cgroups are directories that the shim makes.

start_containerd

flags=--rm run first /exit.wasm 7 >/run/out 2>&1
equal $? 7; verdict "a container runs and its exit code arrives"
equal "$(flags=--rm run second /hello.wasm 2>&1)" "hello from wasm"; verdict "its output arrives"
gone $tree/default/second; verdict "its cgroup is gone after its removal"

flags="--memory-limit 33554432 --cpu-quota 50000 --cpu-period 100000 --cpu-shares 512 --cpuset-cpus 0"
start limited /wait.wasm sleep; verdict "a container with limits starts"
pid=$(pid_of limited) group=$tree/default/limited
equal "$(cgroup_of "$pid")" /default/limited; verdict "its process is in its own cgroup"
equal "$(cat $group/cgroup.procs)" "$pid"; verdict "nothing else is in there"
equal "$(cat $group/memory.max)" 33554432; verdict "memory.max is the limit"
equal "$(cat $group/cpu.max)" "50000 100000"; verdict "cpu.max is the quota"
equal "$(cat $group/cpu.weight)" 20; verdict "cpu.weight is made of the shares"
equal "$(cat $group/cpuset.cpus)" 0; verdict "cpuset.cpus is the list"
equal "$(readlink "/proc/$pid/ns/cgroup" | grep -c "$(readlink /proc/self/ns/cgroup)")" 0
verdict "it has a cgroup namespace of its own"

why=$(ctr task metrics limited 2>&1) && echo "$why" | grep -q 'memory.usage' && echo "$why" | grep -q 'cpu.usage_usec'
verdict "metrics are those of v2"
why=$(ctr task metrics --format json limited 2>&1)
equal "$(printf %s "$why" | tr ',{' '\n\n' | sed -n 's/.*"usage_limit": *//p' | tr -d '}')" 33554432; verdict "the memory limit is in them"

why=$(wamrctl ps 2>&1) && echo "$why" | grep -q "limited .* running .* $pid .* interpreter"; verdict "wamrctl ps shows it"
shown() { printf %s "$why" | tr ',{}' '\n\n\n' | sed -n "s/^\"$1\": *//p"; }
why=$(wamrctl --json ps 2>&1)
equal "$(shown private_kib)" "$(awk '/^Private_/ { sum += $2 } END { print sum }' "/proc/$pid/smaps_rollup")"; verdict "with its private memory"
why=$(wamrctl --json ps 2>&1)
equal "$(shown cpu_ns)" "$(sed -n 's/^usage_usec //p' $group/cpu.stat)000"; verdict "and the processor time of its cgroup"
why=$(wamrctl doctor 2>&1)
echo "$why" | grep -q '^ok .*cgroups .*v2 with' && echo "$why" | grep -q '^ok .*cgroup driver .*cgroupfs'; verdict "wamrctl doctor says so"

why=$(ctr task pause limited 2>&1); verdict "it can be paused"
equal "$(sed -n 's/^frozen //p' $group/cgroup.events)" 1; verdict "the kernel says it is frozen"
equal "$(state_of limited)" PAUSED; verdict "its state is PAUSED"
why=$(ctr task resume limited 2>&1); verdict "it can be resumed"
equal "$(sed -n 's/^frozen //p' $group/cgroup.events) $(state_of limited)" "0 RUNNING"; verdict "and runs again"
why=$(ctr task pause limited 2>&1 && ctr task kill -s SIGKILL limited 2>&1)
end limited; verdict "a paused container is killed and removed"
gone $group; verdict "its cgroup is gone"

out=$(flags="--rm --memory-limit 8388608" run grower /grow.wasm 2>&1)
equal "$?: $out" "0: pages 120"; verdict "memory.grow is refused within the limit, and the guest goes on"

# With --config: what ctr has no flag for.
mkdir -p /run/rootfs && cp /test/guests/*.wasm /run/rootfs/
configured() {
    cat >/run/config.json <<C
{"ociVersion":"1.2.0","process":{"user":{"uid":0,"gid":0},"args":[$2],"cwd":"/"},"root":{"path":"/run/rootfs"},
"linux":{"cgroupsPath":"$1","resources":{$3},"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"cgroup"}]}}
C
}
configured /pod/several '"/wait.wasm","sleep"' '"pids":{"limit":17},"unified":{"memory.high":"20971520","cpu.weight":"77"}'
why=$(ctr run -d --config /run/config.json --runtime io.containerd.wamr.v1 several 2>&1); verdict "a container with unified limits starts"
equal "$(cat $tree/pod/several/pids.max $tree/pod/several/memory.high $tree/pod/several/cpu.weight | tr '\n' ' ')" "17 20971520 77 "
verdict "pids.max and the unified files are set"

configured /pod/hungry '"/dirty.wasm","64","stay"' '"unified":{"memory.max":"16777216"}'
why=$(ctr run --config /run/config.json --runtime io.containerd.wamr.v1 hungry 2>&1)
equal $? 137; verdict "a container that outgrows its memory is killed with 137"
saw hungry exit; verdict "its exit is announced"
equal "$(events_of hungry | cut -d' ' -f1-4)" "create start oom exit"
verdict "TaskOOM comes before TaskExit"
equal "$(state_of several)" RUNNING; verdict "its neighbour lives on"
end several
ctr task rm hungry >/dev/null 2>&1; ctr container rm hungry >/dev/null 2>&1
gone $tree/pod/several && gone $tree/pod/hungry; verdict "both cgroups are gone"

flags=--rm
for i in $(seq 20); do run "many-$i" /wait.wasm ticks 2 100 "$i" >"/run/many-$i" 2>&1 & eval "job_$i=$!"; done
bad=''
for i in $(seq 20); do
    eval "wait \$job_$i"
    code=$?
    [ $code = "$i" ] || bad="$bad $i=$code($(tail -n 1 "/run/many-$i"))"
done
equal "$bad" ''; verdict "20 containers at once, each with its own exit code"
equal "$(ls -d $tree/default/*/ 2>/dev/null)" ''; verdict "none of them leaves a cgroup"

flags=
for i in 1 2 3; do start "orphan-$i" /wait.wasm spin; done
pid=$(pid_of orphan-1)
server=$(awk '/^PPid/ { print $2 }' "/proc/$pid/status")
kill -KILL "$server"
eventually 10 is_no orphan-1 RUNNING; verdict "a killed server's containers are reported as ended"
eventually 10 gone "/proc/$pid"; verdict "their processes are dead"
for i in 1 2 3; do ctr task rm -f "orphan-$i"; ctr container rm "orphan-$i"; done >/run/out 2>&1
why=$(ls -d $tree/default/*/ 2>&1; cat /run/out)
eventually 10 gone $tree/default/orphan-1 && gone $tree/default/orphan-2 && gone $tree/default/orphan-3; verdict "their cgroups are gone"
flags=--rm run after /exit.wasm 3 >/run/out 2>&1
equal $? 3; verdict "later containers work"

place() { :; }
group_of() { echo "$tree/default/$1"; }
. /test/guest/native.sh
. /test/guest/warm.sh

stop_containerd
cgroup-tests --test-threads 2 >/run/out 2>&1 || { grep -A4 panicked /run/out; false; }; verdict "crates/cgroup's own tests on cgroup v2"
equal "$(find $tree -mindepth 1 -maxdepth 1 -type d -name 'wamr-test*')" ''; verdict "they leave nothing"
