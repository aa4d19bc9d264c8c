# With systemd as init: containers with `slice:prefix:name` for a cgroup path get a scope of systemd's.

# The host's own systemctl, not busybox's.
property() { systemctl show -P "$2" -- "$1"; }
scopes() { systemctl list-units --all --plain --no-legend --type=scope | grep -c "$1"; }
no_scope() { [ "$(scopes "$1")" = 0 ]; }

equal "$(property -.slice ActiveState)" active; verdict "systemd runs the host ($(systemctl --version | head -n 1))"
start_containerd

flags="--rm --cgroup wamr-test.slice:ctr:first"
run first /exit.wasm 7 >/run/out 2>&1
why="$? $(cat /run/out)"; [ "${why%% *}" = 7 ]; verdict "a container runs and its exit code arrives"
eventually 10 no_scope ctr-first; verdict "its scope is gone"

flags="--cgroup wamr-test.slice:ctr:limited --memory-limit 33554432 --cpu-quota 12345 --cpu-period 100000 --cpu-shares 512 --cpuset-cpus 0"
start limited /wait.wasm sleep; verdict "a container with limits starts"
pid=$(pid_of limited) group=$tree/wamr.slice/wamr-test.slice/ctr-limited.scope scope=ctr-limited.scope
equal "$(cgroup_of "$pid")" "${group#"$tree"}"; verdict "its process is in the scope's cgroup"
equal "$(property $scope ActiveState) $(property $scope Slice) $(property $scope Delegate)" "active wamr-test.slice yes"; verdict "the scope is active, in its slice, delegated"
equal "$(property $scope ControlGroup)" "${group#"$tree"}"; verdict "systemd knows the cgroup"
equal "$(property $scope MemoryMax) $(property $scope CPUQuotaPerSecUSec) $(property $scope CPUWeight) $(property $scope TasksMax) $(property $scope AllowedCPUs)" "33554432 130ms 20 infinity 0"
verdict "it shows the limits"
values() { cat $group/memory.max $group/cpu.max $group/cpu.weight $group/pids.max $group/cpuset.cpus | tr '\n' ' '; }
equal "$(values)" "33554432 12345 100000 20 max 0 "; verdict "the files say what was asked for, to the microsecond"
why=$(wamrctl ps 2>&1) && echo "$why" | grep -q "limited .* running .* $pid .* interpreter"; verdict "wamrctl ps shows it"
why=$(wamrctl doctor 2>&1)
echo "$why" | grep -q '^ok .*cgroups .*v2 with' && echo "$why" | grep -q 'cgroup driver .*systemd runs'; verdict "wamrctl doctor says who has the tree"
why=$(systemctl daemon-reload 2>&1); verdict "systemd is reloaded"
systemctl set-property --runtime wamr-test.slice MemoryMax=512M
sleep 1
equal "$(values | sed 's/12345 1/1.... 1/; s/13000 1/1.... 1/')" "33554432 1.... 100000 20 max 0 "; verdict "the limits are still there"
end limited; verdict "it is killed and removed"
eventually 10 no_scope ctr-limited; verdict "its scope is gone"
gone $group; verdict "and its cgroup"

flags="--cgroup wamr-test.slice:ctr:hungry"
start hungry /dirty.wasm 64 stay; verdict "a container that uses 64 MiB starts"
group=$tree/wamr.slice/wamr-test.slice/ctr-hungry.scope
in_use() { [ "$(cat $group/memory.current)" -gt 67108864 ]; }
eventually 60 in_use
# Its limit becomes less than it uses.
echo 16777216 >$group/memory.max
saw hungry exit; verdict "it is killed"
equal "$(events_of hungry | cut -d' ' -f1-4)" "create start oom exit"
verdict "TaskOOM comes before TaskExit"
eventually 10 no_scope ctr-hungry; verdict "no failed scope is left"
end hungry; verdict "it is removed"

flags="--rm --cgroup wamr-test.slice:ctr:again"
bad=''
for i in 1 2 3 4 5; do run again /exit.wasm $i >/run/out 2>&1; [ $? = $i ] || bad="$bad $i: $(cat /run/out)"; done
equal "$bad" ''; verdict "one id can be used again at once"

for i in $(seq 10); do flags="--rm --cgroup wamr-test.slice:ctr:many-$i"; run "many-$i" /wait.wasm ticks 2 100 "$i" >"/run/many-$i" 2>&1 & eval "job_$i=$!"; done
bad=''
for i in $(seq 10); do
    eval "wait \$job_$i"
    code=$?
    [ $code = "$i" ] || bad="$bad $i=$code($(tail -n 1 "/run/many-$i"))"
done
equal "$bad" ''; verdict "10 containers at once"
eventually 10 no_scope ctr-many; verdict "none of them leaves a scope"

flags="--rm --cgroup /plain/first"
run plain /exit.wasm 5 >/run/out 2>&1
equal $? 5; verdict "a cgroupfs path works beside that"

flags="--cgroup wamr-test.slice:ctr:orphan"
start orphan /wait.wasm spin
pid=$(pid_of orphan)
kill -KILL "$(awk '/^PPid/ { print $2 }' "/proc/$pid/status")"
eventually 10 no_scope ctr-orphan; verdict "a killed server leaves no scope"
ctr task rm -f orphan >/dev/null 2>&1
ctr container rm orphan >/dev/null 2>&1

place() { echo "--cgroup wamr-test.slice:ctr:$1"; }
group_of() { echo "$tree/wamr.slice/wamr-test.slice/ctr-$1.scope"; }
. /test/guest/native.sh
eventually 10 no_scope ctr-n-; verdict "native: no scope is left"
. /test/guest/warm.sh
eventually 10 no_scope ctr-warm; verdict "warm: no scope is left"

stop_containerd
cgroup-tests --test-threads 2 >/run/out 2>&1 || { grep -A4 panicked /run/out; false; }; verdict "crates/cgroup's own tests on this host"
equal "$(systemctl list-units --all --plain --no-legend --no-pager --type=scope | awk '{ print $1 }')" init.scope; verdict "no scope is left"
cgroup-tests --ignored --nocapture cost_of_a_scope 2>&1 | grep p50
