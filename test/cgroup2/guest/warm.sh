# Warm starts on cgroup v2 alone, without and with systemd: the guest that is run to its ready point has a cgroup of its own,
# which is gone then. Needs `place ID` and `group_of ID`, as native.sh.

warm="--annotation wamr.containerd.io/warm_start=true --annotation wamr.containerd.io/aot=off"
for i in 1 2; do
    flags="--rm $warm $(place warm-$i)"
    run warm-$i /warm.wasm twice 3 >/run/out-$i 2>&1
    why="$? $(cat /run/out-$i)"
    case $why in "3 copy "*) true ;; *) false ;; esac; verdict "warm: container $i is a copy, and its exit code arrives"
done
[ "$(cut -d' ' -f2 /run/out-1)" = "$(cut -d' ' -f2 /run/out-2)" ]; verdict "warm: both know the same"
equal "$(cat /run/containerd-shim-wamr/*/log | grep -c 'warm template of /warm.wasm')" 1; verdict "warm: it was run once"
gone "$(group_of warm-1-warm)"; verdict "warm: the cgroup it was run in is gone"
flags="--rm $warm $(place warm-small) --memory-limit 3145728"
run warm-small /warm.wasm twice 1 >/run/out 2>&1
why="$? $(cat /run/out)"; [ "${why%% *}" != 0 ]; verdict "warm: without room for it the container says so"
gone "$(group_of warm-small-warm)"; verdict "warm: and its cgroup is gone too"
