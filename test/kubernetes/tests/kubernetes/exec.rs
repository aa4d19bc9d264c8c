//! kubectl exec, attach and logs.

use e2e::run;
use kubernetes::{BOTH, Pod, Space, wasm};

#[test]
fn exec_runs_a_second_module_and_tells_its_code() {
    let space = Space::new("exec");
    let pod = space.pod(&Pod::new("wait", &[wasm("main", &["wait", "sleep"])]));
    space.ready(&pod);
    let output = space.kubectl(&["exec", &pod, "--", "/env.wasm", "one", "two"]);
    assert!(output.starts_with("arg 0 /env.wasm\narg 1 one\narg 2 two\n"), "{output}");
    assert!(output.contains("env KUBERNETES_SERVICE_HOST=10.96.0.1"), "{output}");
    let failed = space.try_kubectl(&["exec", &pod, "--", "/exit.wasm", "9"]);
    assert_eq!(failed.code, 9, "{}", failed.stderr);
    assert_eq!(space.status(&pod).restarts(), 0);
}

#[test]
fn exec_passes_stdin_on_and_ends_with_it() {
    let space = Space::new("exec-stdin");
    let pod = space.pod(&Pod::new("wait", &[wasm("main", &["wait", "sleep"])]));
    space.ready(&pod);
    let config = space.cluster.folder().join("etc/kubeconfig").display().to_string();
    let kubectl = ["kubectl", "--kubeconfig", &config, "--namespace", &space.name];
    let words = [&kubectl[..], &["exec", "-i", &pod, "--", "/cat.wasm"]].concat();
    let output = run(&mut space.cluster.node.command(&words), b"first\nlast").succeeded();
    assert_eq!(output.text(), "first\nlast");
}

#[test]
fn logs_are_complete_and_in_order_to_the_last_line() {
    let space = Space::new("logs");
    let pod = space.pod(&Pod::new("flood", &[wasm("main", &["flood", "2"])]).once());
    assert_eq!(space.ended(&pod), (0, "Completed".to_owned()));
    let log = space.logs(&pod);
    assert_eq!(log.lines().count(), 200_000);
    assert!(log.lines().enumerate().all(|(number, line)| line.parse() == Ok(number)));
}

#[test]
fn logs_follow_a_running_guest_to_its_end() {
    let space = Space::new("follow");
    let pod = space.pod(&Pod::new("ticks", &[wasm("main", &["wait", "ticks", "20", "100", "5"])]).once());
    space.wait(&pod, "to run", |status| status.phase() != "Pending");
    let log = space.kubectl(&["logs", "-f", &pod]);
    let ticks = (0..20).map(|tick| format!("tick {tick}\n")).collect::<String>();
    assert_eq!(log, format!("ready\n{ticks}"));
    assert_eq!(space.ended(&pod), (5, "Error".to_owned()));
}

#[test]
fn exec_runs_a_native_program_of_the_image_within_the_guests_walls() {
    let space = Space::new("exec-native");
    let pod = Pod::new("wait", &[wasm("main", &["wait", "sleep"])]).container("image", BOTH.into());
    let pod = space.pod(&pod);
    space.ready(&pod);
    let shell = |words: &str| space.try_kubectl(&["exec", &pod, "--", "/bin/sh", "-c", words]);
    let output = shell("echo $0 $((6 * 7)); cat /etc/hostname; exit 3");
    assert_eq!((output.code, output.text().as_str()), (3, "/bin/sh 42\nwait\n"), "{}", output.stderr);
    let capabilities =
        shell("while read -r key value; do [ $key = CapEff: ] && echo $value; done < /proc/self/status");
    assert_ne!(capabilities.code, 127, "{}", capabilities.stderr);
    assert!(["", "0000000000000000\n"].contains(&capabilities.text().as_str()), "{}", capabilities.text());
}
