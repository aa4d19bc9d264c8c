//! Programs run beside a container's first one, and clients of its streams.

use std::time::{Duration, Instant};

use cri::Container;
use e2e::eventually;

use crate::bench::{Bench, WAITS, each, same, script_in};

fn waiting(bench: &Bench) -> Container<'_> {
    let container = bench.script(WAITS).start();
    container.wait_until_it_says("ready");
    container
}

#[test]
fn exit_code_stdout_and_stderr_of_an_exec_are_told() {
    each("exec", |bench| {
        let container = waiting(bench);
        for code in [0, 1, 7, 255] {
            assert_eq!(container.exec(&["/bin/sh", "-c", &format!("exit {code}")]).0, code);
        }
        let answer = container.try_exec(&["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], 30).unwrap();
        assert_eq!((answer.exit_code, &*answer.stdout, &*answer.stderr), (3, &b"out\n"[..], &b"err\n"[..]));
        // By PATH, and ended by a signal.
        assert_eq!(container.exec(&["echo", "hello", "two  words"]), (0, "hello two  words\n".to_owned()));
        assert_eq!(container.exec(&["sh", "-c", "kill -9 $$"]).0, 137);
        assert_eq!(container.exec(&["sh", "-c", "sed p /proc/self/maps | head -n 1 >/dev/null"]).0, 0);
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_leaves_the_container_alone() {
    each("missing", |bench| {
        let container = waiting(bench);
        let error = container.try_exec(&["/no/such/program"], 30).unwrap_err();
        assert!(error.message().contains("/no/such/program"), "{error}");
        let error = container.try_exec(&["/bin"], 30).unwrap_err();
        assert!(error.message().contains("/bin"), "{error}");
        assert_eq!(container.exec(&["true"]).0, 0);
    });
}

#[test]
fn an_exec_that_takes_too_long_is_ended() {
    each("timeout", |bench| {
        let container = waiting(bench);
        let processes = || bench.scene.node.bed.cgroups.processes(&bench.scene.name).len();
        let began = Instant::now();
        let error = container.try_exec(&["sleep", "1000"], 1).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20));
        assert!(error.message().contains("timeout") || error.message().contains("deadline"), "{error}");
        eventually("the exec to be gone", || {
            container.exec(&["sh", "-c", "ps | grep -c '[s]leep 1000'"]).1 == "0\n"
        });
        assert!(processes() > 0);
    });
}

#[test]
fn the_output_of_an_exec_is_whole() {
    each("output", |bench| {
        let container = waiting(bench);
        let (code, text) =
            container.exec(&["sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"]);
        assert_eq!((code, text.lines().count()), (0, 20000));
    });
}

#[test]
fn an_exec_with_streams_reads_what_is_typed() {
    each("streams", |bench| {
        let container = waiting(bench);
        let mut exec = container.exec_stream(
            &[
                "sh",
                "-c",
                "while read -r line; do echo got $line; echo err $line >&2; [ $line = end ] && exit 9; done",
            ],
            false,
        );
        exec.write(b"first\n");
        exec.wait_until_it_says("got first\n");
        exec.write(b"end\n");
        assert_eq!(exec.finish(), 9);
        assert_eq!(exec.output(), "got first\ngot end\n");
        assert_eq!(exec.errors(), "err first\nerr end\n");
    });
}

#[test]
fn an_exec_with_a_terminal_has_one_of_the_client_s_size() {
    each("terminal", |bench| {
        let container = waiting(bench);
        let mut exec = container.exec_stream(&["sh"], true);
        exec.resize(101, 33);
        exec.write(b"tty; [ -t 0 ] && [ -t 2 ] && echo a terminal $((6 * 7))\n");
        exec.wait_until_it_says("a terminal 42\r\n");
        assert!(exec.output().contains("/dev/pts/"), "{}", exec.output());
        exec.write(b"until stty size | grep '33 101'; do sleep 0.1; done; exit 4\n");
        assert_eq!(exec.finish(), 4);
        assert!(exec.output().contains("33 101"));
    });
}

#[test]
fn a_client_attaches_to_streams_and_to_a_terminal() {
    each("attach", |bench| {
        let pod = bench.pod("a").run();
        let script = "while read -r line; do echo got $line; echo err $line >&2; [ $line = end ] && exit 6; done; exit 1";
        let container = script_in(&pod, script).input().start();
        let mut attached = container.attach(false);
        attached.write(b"one\n");
        attached.wait_until_it_says("got one\n");
        eventually("its errors", || attached.errors().contains("err one\n"));
        attached.close();
        // Its stdin is still open.
        let mut attached = container.attach(false);
        attached.write(b"end\n");
        assert_eq!(container.wait().exit_code, 6);
        assert_eq!(container.log().stdout(), "got one\ngot end\n");
        let container = script_in(&pod, script).attempt(1).input().terminal().start();
        let mut attached = container.attach(true);
        attached.write(b"typed\n");
        attached.wait_until_it_says("typed\r\ngot typed\r\n");
        attached.write(b"end\n");
        assert_eq!(container.wait().exit_code, 6);
    });
}

#[test]
fn a_port_of_a_pod_and_one_of_the_host_s_network_are_forwarded() {
    each("forward", |bench| {
        let serve = |port| format!("exec nc -ll -p {port} -e echo it serves");
        let pod = bench.pod("a").run();
        script_in(&pod, &serve(8080)).start();
        let stream = |pod: &cri::Pod<'_>, port| {
            let forwarded = pod.port_forward(port);
            eventually("an answer through the forwarded port", || forwarded.output().contains("it serves"));
            forwarded.close();
        };
        pod.wait_until_it_listens(8080);
        stream(&pod, 8080);
        use cri::api::NamespaceMode::{Container as Own, Node as Host, Pod as Shared};
        let host = bench.pod("b").namespaces(Host, Own, Shared).run();
        script_in(&host, &serve(18081)).start();
        host.wait_until_it_listens(18081);
        stream(&host, 18081);
    });
}

#[test]
fn an_exec_in_a_container_with_another_user_and_directory_is_as_the_container() {
    same("as-container", |bench| {
        let mut container = bench.script(WAITS).env("FROM", "the spec").security(|security| {
            security.run_as_user = Some(cri::api::Int64Value { value: 1000 });
        });
        container.config.working_dir = "/proc/sys".to_owned();
        let container = container.start();
        container.wait_until_it_says("ready");
        container.exec(&["sh", "-c", "id; pwd; env; umask"]).1
    });
}
