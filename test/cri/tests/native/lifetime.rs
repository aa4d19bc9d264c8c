//! States, ends, logs, limits and numbers.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cri::api::{ContainerState, LinuxContainerResources, ReopenContainerLogRequest};
use cri::{Log, RUNC, busybox};
use e2e::eventually;

use crate::bench::{WAITS, each, same, script_in};

#[test]
fn ends_are_told_with_code_and_reason() {
    for (name, script) in [
        ("success", "true"),
        ("failure", "exit 42"),
        ("signal", "kill -SEGV $$"),
        ("not-a-program", "exec /etc/hostname"),
        ("no-shell-command", "no-such-command"),
        ("sigpipe", "yes() { while :; do echo y; done; }; yes | head -n 1; echo over"),
    ] {
        same(name, |bench| {
            let (status, text) = bench.script(script).run();
            format!("{} {} {text}", status.exit_code, status.reason)
        });
    }
}

#[test]
fn a_program_that_cannot_be_run_is_told_when_it_is_started() {
    each("not-run", |bench| {
        let pod = bench.pod("a").run();
        for (attempt, command) in (0..).zip(["/no/such/program", "not-in-path", "/etc"]) {
            let container = pod.container("main", &busybox(), &[command]).attempt(attempt).create();
            let error = container.try_start().unwrap_err();
            assert!(error.message().contains(command), "{error}");
            let status = container.status();
            assert_eq!(
                (status.state(), status.reason.as_str()),
                (ContainerState::ContainerExited, "StartError")
            );
            assert_eq!(status.exit_code, 128);
            container.remove();
        }
    });
}

#[test]
fn a_container_is_created_runs_stops_is_restarted_and_is_gone() {
    each("states", |bench| {
        let pod = bench.pod("a").run();
        let container = script_in(&pod, WAITS).create();
        assert_eq!(container.status().state(), ContainerState::ContainerCreated);
        container.try_start().unwrap();
        container.wait_until_it_says("ready");
        let status = container.status();
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        assert!(status.created_at > 0 && status.started_at >= status.created_at);
        container.stop(30);
        let status = container.status();
        assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 143));
        assert!(container.try_exec(&["true"], 5).is_err());
        let again = script_in(&pod, WAITS).attempt(1).start();
        again.wait_until_it_says("ready");
        assert_eq!(again.exec(&["true"]).0, 0);
        container.remove();
        again.stop(0);
        assert_eq!(again.status().exit_code, 137);
        again.stop(0);
        again.remove();
    });
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_time() {
    each("stubborn", |bench| {
        let container = bench.script("trap '' TERM; echo ready; while :; do sleep 0.1; done").start();
        container.wait_until_it_says("ready");
        let began = Instant::now();
        container.stop(2);
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
        assert_eq!(container.status().exit_code, 137);
    });
}

#[test]
fn a_pod_that_is_stopped_ends_its_containers_and_a_running_one_can_be_removed() {
    each("together", |bench| {
        let pod = bench.pod("a").run();
        let (one, two) = (script_in(&pod, WAITS).start(), script_in(&pod, WAITS).attempt(1).start());
        one.wait_until_it_says("ready");
        two.remove();
        pod.stop();
        assert_eq!(one.status().state(), ContainerState::ContainerExited);
        assert!(!pod.is_ready());
        pod.remove();
    });
}

#[test]
fn one_that_takes_more_memory_than_its_limit_is_oom_killed() {
    each("oom", |bench| {
        let container = bench
            .script("echo ready; exec dd if=/dev/zero of=/dev/null bs=200M count=1")
            .memory_limit(32 << 20);
        // runc's shim tells of the kill by another way than of the end, and is sometimes late on a busy machine.
        let certain = bench.handler != RUNC;
        let (status, _) = container.run();
        assert_eq!(status.exit_code, 137);
        assert!(status.reason == "OOMKilled" || !certain, "{status:?}");
        // A child that is killed is told, although the shell goes on and ends by itself.
        let container = bench.pod("b").run();
        let container =
            script_in(&container, "dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1; exit 7")
                .memory_limit(32 << 20);
        let (status, _) = container.run();
        assert_eq!(status.exit_code, 7);
        assert!(status.reason == "OOMKilled" || !certain, "{status:?}");
    });
}

#[test]
fn stdout_and_stderr_are_in_the_log_which_can_be_rotated() {
    each("log", |bench| {
        let pod = bench.pod("a").run();
        let script = "i=0; while [ $i -lt 60 ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.02; done; printf 'no end'";
        let container = script_in(&pod, script).start();
        container.wait_until_it_says("out 5\n");
        let folder = Path::new(&pod.config.log_directory);
        fs::rename(folder.join("main.log"), folder.join("main.log.1")).unwrap();
        let request = ReopenContainerLogRequest { container_id: container.id.clone() };
        let node = &bench.scene.node;
        node.runtime(request, async |mut client, request| client.reopen_container_log(request).await)
            .unwrap();
        container.wait();
        let before = Log::parse(&fs::read_to_string(folder.join("main.log.1")).unwrap());
        let after = container.log();
        let lines = |word: &str| (0..60).map(|i| format!("{word} {i}\n")).collect::<String>();
        assert_eq!(before.stdout() + &after.stdout(), lines("out") + "no end");
        assert_eq!(before.stderr() + &after.stderr(), lines("err"));
        assert!(!before.0.is_empty() && !after.0.is_empty());
    });
}

#[test]
fn environment_working_directory_and_arguments_are_as_asked() {
    same("as-asked", |bench| {
        let mut container =
            bench.script("pwd; echo \"$@\"; env").env("A", "1").env("EMPTY", "").env("WITH", "a=b c");
        container.config.args = ["zero", "one", "two words"].map(str::to_owned).to_vec();
        container.config.working_dir = "/made/for/it".to_owned();
        container.run().1
    });
}

#[test]
fn processor_and_memory_are_counted_and_limits_change_while_it_runs() {
    each("stats", |bench| {
        let container = bench
            .script("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; sleep 1000")
            .memory_limit(64 << 20)
            .start();
        container.wait_until_it_says("ready");
        if bench.handler == RUNC {
            // Its shim answers with no numbers at all now and then.
            return;
        }
        eventually("its processor time and memory", || {
            let stats = container.stats();
            let time = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).map_or(0, |time| time.value);
            let memory =
                stats.memory.and_then(|memory| memory.working_set_bytes).map_or(0, |memory| memory.value);
            time > 1_000_000 && memory > 4096
        });
        let limits = LinuxContainerResources {
            memory_limit_in_bytes: 48 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        };
        container.update(limits).unwrap();
        let read = |file: &str| container.exec(&["sh", "-c", &format!("cat /sys/fs/cgroup/{file}")]).1;
        assert_eq!(read("memory/memory.limit_in_bytes").trim(), (48 << 20).to_string());
        assert_eq!(read("cpu/cpu.shares").trim(), "512");
        assert_eq!(read("cpu/cpu.cfs_quota_us").trim(), "50000");
    });
}
