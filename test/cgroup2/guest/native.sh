# Native containers: busybox, made by libcontainer, on cgroup v2 alone. The same checks without and with systemd.
# Needs `place ID`, the flags for a container's cgroup, and `group_of ID`, its directory.

# No container of that name has left a cgroup, a mount, a bundle or a process.
nothing_left() {
    why="$(ls -d "$(group_of "$1")" 2>/dev/null; grep "/$1/" /proc/mounts; ls -d "/run/c/state/io.containerd.runtime.v2.task/default/$1" 2>/dev/null)"
    [ -z "$why" ]
}
# inside ID COMMAND: as an exec of the container.
execs=0
inside() {
    execs=$((execs + 1))
    ctr task exec --exec-id "x$execs" "$1" /bin/sh -c "$2" 2>&1
}
# The exit code that containerd told of.
exit_of() { sed -n "s,.*/tasks/exit .*\"id\":\"$1\".*\"exit_status\":\([0-9]*\).*,\1,p" /run/events; }
idle="trap 'exit 3' TERM; while :; do sleep 1; done"
forever() { start "$1" /bin/sh -c "$idle"; }
frozen() { sed -n 's/^frozen //p' "$group/cgroup.events"; }

flags="--rm $(place n-first)"
out=$(run n-first /bin/sh -c 'echo out; exit 7' 2>&1)
equal "$? $out" "7 out"; verdict "native: it runs, output and exit code arrive"
eventually 10 nothing_left n-first; verdict "native: nothing of it is left"

flags="$(place n-limited) --memory-limit 33554432 --cpu-quota 50000 --cpu-period 100000 --cpu-shares 512 --cpuset-cpus 0 --device /dev/vdb"
forever n-limited; verdict "native: a container with limits starts"
pid=$(pid_of n-limited) group=$(group_of n-limited)
equal "$(cgroup_of "$pid")" "${group#"$tree"}"; verdict "native: its process is in its own cgroup"
limits() { cat "$group/memory.max" "$group/cpu.max" "$group/cpu.weight" "$group/cpuset.cpus" | tr '\n' ' '; }
equal "$(limits)" "33554432 50000 100000 20 0 "; verdict "native: the files say what was asked for"
out=$(inside n-limited 'cat /proc/self/cgroup; exit 5')
equal "$? $out" "5 0::${group#"$tree"}"; verdict "native: an exec is in the same cgroup and its exit code arrives"
why=$(ctr task metrics n-limited 2>&1) && echo "$why" | grep -q 'memory.usage' && echo "$why" | grep -q 'cpu.usage_usec'
verdict "native: metrics are those of v2"
why=$(wamrctl ps 2>&1) && echo "$why" | grep -q "n-limited .* running .* $pid "; verdict "native: wamrctl ps shows it"

why=$(ctr task pause n-limited 2>&1) && equal "$(frozen) $(state_of n-limited)" "1 PAUSED"; verdict "native: pause freezes it"
why=$(ctr task resume n-limited 2>&1) && equal "$(frozen) $(state_of n-limited)" "0 RUNNING"; verdict "native: resume lets it go on"

why=$(update_task /run/containerd/containerd.sock n-limited '{"memory":{"limit":50331648},"cpu":{"shares":1024,"quota":20000,"period":100000}}' 2>&1)
verdict "native: its limits are changed while it runs"
equal "$(limits)" "50331648 20000 100000 39 0 "; verdict "native: the files say so"
if [ "$mode" = systemd ]; then
    scope=ctr-n-limited.scope
    equal "$(property $scope ActiveState) $(property $scope MemoryMax) $(property $scope CPUQuotaPerSecUSec)" "active 50331648 200ms"
    verdict "native: and its scope"
    # systemd puts programs for devices on cgroups, too.
    why=$(systemctl daemon-reload 2>&1); verdict "native: systemd is reloaded"
fi

# Device rules: ctr's, which allow what is in every /dev, and the one device that was given.
numbers() { stat -c '%t %T' "$1" | { read -r major minor; echo "$((0x$major)) $((0x$minor))"; }; }
equal "$(inside n-limited 'echo x >/dev/null && head -c 3 /dev/zero | wc -c && head -c 2 /dev/urandom | wc -c' | tr '\n' ' ')" "3 2 "
verdict "native: /dev/null, zero and urandom are usable"
equal "$(inside n-limited "mknod /disk b $(numbers /dev/vda) && mknod /log c 1 11; ls /disk /log; dd if=/disk of=/dev/null count=1; dd if=/log of=/dev/null count=1" | tr '\n' ' ')" \
    "/disk /log dd: can't open '/disk': Operation not permitted dd: can't open '/log': Operation not permitted "
verdict "native: a node of another device can be made, as with runc, but not opened"
inside n-limited 'dd if=/dev/vdb of=/dev/null count=1' >/run/out 2>&1
why=$?$(cat /run/out) && grep -q '^1+0 records in' /run/out; verdict "native: the device that it was given can be read"

ctr task kill -s SIGTERM n-limited
eventually 10 is_state n-limited STOPPED
saw n-limited exit
equal "$(exit_of n-limited)" 3; verdict "native: it handles SIGTERM and its exit code is told"
end n-limited
eventually 10 nothing_left n-limited; verdict "native: nothing of it is left"

flags="--rm --privileged $(place n-free)"
run n-free /bin/sh -c 'dd if=/dev/vda of=/dev/null count=1 && dd if=/dev/kmsg of=/dev/null bs=8192 count=1' >/run/out 2>&1
why=$?$(cat /run/out) && equal "$(grep -c 'records in' /run/out)" 2; verdict "native: a privileged one may open every device"

flags="$(place n-paused)"
forever n-paused
why=$(ctr task pause n-paused 2>&1 && ctr task kill -s SIGKILL n-paused 2>&1); end n-paused; verdict "native: a paused one is killed and removed"
eventually 10 nothing_left n-paused; verdict "native: nothing of it is left"

flags="--memory-limit 16777216 $(place n-hungry)"
run n-hungry /bin/dd if=/dev/zero of=/dev/null bs=64M count=1 >/run/out 2>&1
equal $? 137; verdict "native: one that outgrows its memory is killed with 137"
saw n-hungry exit
equal "$(events_of n-hungry | cut -d' ' -f1-4)" "create start oom exit"; verdict "native: TaskOOM comes before TaskExit"
ctr container rm n-hungry >/dev/null 2>&1
eventually 10 nothing_left n-hungry; verdict "native: nothing of it is left"

# As CRI asks for it: a cgroup namespace, with the cgroup where programs look for their limits.
mkdir -p /run/native-root/proc /run/native-root/sys /run/native-root/dev && cp -a /test/guests/bin /run/native-root/
path=/default/n-seen
[ "$mode" = systemd ] && path=wamr-test.slice:ctr:n-seen
cat >/run/config.json <<C
{"ociVersion":"1.2.0","process":{"user":{"uid":0,"gid":0},"cwd":"/","env":["PATH=/bin"],
"args":["sh","-c","cat /proc/self/cgroup /sys/fs/cgroup/memory.max; ls -d /sys/fs/cgroup/*.slice /sys/fs/cgroup/default; echo 1 >/sys/fs/cgroup/cpu.weight"]},
"root":{"path":"/run/native-root"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/sys","type":"sysfs","source":"sysfs","options":["ro"]},
{"destination":"/dev","type":"tmpfs","source":"tmpfs","options":["nosuid","strictatime","mode=755"]},
{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["nosuid","noexec","nodev","relatime","ro"]}],
"linux":{"cgroupsPath":"$path","resources":{"memory":{"limit":33554432},"unified":{"memory.high":"31457280"}},"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"cgroup"}]}}
C
out=$(ctr run --rm --config /run/config.json --runtime io.containerd.wamr.v1 n-seen 2>&1 | grep -v 'No such file' | tr '\n' ' ')
equal "$out" "0::/ 33554432 sh: can't create /sys/fs/cgroup/cpu.weight: Read-only file system "
verdict "native: in a cgroup namespace it sees its own limit, no other cgroup, and cannot change any"
eventually 10 nothing_left n-seen; verdict "native: nothing of it is left"

for i in 1 2 3 4 5 6; do flags="--rm $(place "n-many-$i")"; run "n-many-$i" /bin/sh -c "sleep 1; exit $i" >"/run/n-many-$i" 2>&1 & eval "job_$i=$!"; done
bad=''
for i in 1 2 3 4 5 6; do
    eval "wait \$job_$i"
    code=$?
    [ $code = "$i" ] || bad="$bad $i=$code($(tail -n 1 "/run/n-many-$i"))"
done
equal "$bad" ''; verdict "native: 6 containers at once, each with its own exit code"
for i in 1 2 3 4 5 6; do eventually 10 nothing_left "n-many-$i" || break; done; verdict "native: nothing of them is left"

flags="$(place n-orphan)"
forever n-orphan
pid=$(pid_of n-orphan)
kill -KILL "$(awk '/^PPid/ { print $2 }' "/proc/$pid/status")"
eventually 10 is_no n-orphan RUNNING; verdict "native: a killed server's container is reported as ended"
eventually 10 gone "/proc/$pid"; verdict "native: its process is dead"
ctr task rm -f n-orphan >/dev/null 2>&1
ctr container rm n-orphan >/dev/null 2>&1
eventually 10 nothing_left n-orphan; verdict "native: nothing of it is left"
