//! Promise: containerd is told the guest's own exit code, 134 for a trap, 128 + n for signal n.

use e2e::{Bed, Finished};

#[test]
fn a_guest_s_own_code_arrives_unchanged() {
    let bed = Bed::shared();
    let namespace = bed.namespace("codes");
    let image = namespace.import_guests(&["exit"]);
    for code in [0, 1, 2, 42, 125, 126, 127, 128, 134, 137, 143, 254, 255] {
        let text = code.to_string();
        let args = ["/bin/exit.wasm", &text];
        let finished = namespace.container(&image, &format!("exit-{code}"), &args).run();
        assert_eq!(finished, Finished { code, stdout: Vec::new(), stderr: String::new() });
    }
}

#[test]
fn the_value_main_returns_is_the_exit_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("returns");
    let image = namespace.import_guests(&["exit"]);
    for code in [0, 1, 200, 255] {
        let text = code.to_string();
        let args = ["/bin/exit.wasm", "return", &text];
        assert_eq!(namespace.container(&image, &format!("return-{code}"), &args).run().code, code);
    }
}

#[test]
fn ctr_run_prints_the_output_and_ends_with_the_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ctr");
    let image = namespace.import_guests(&["hello", "exit"]);
    let output = namespace.ctr().container(&["--rm"], &image, "hello", &["/bin/hello.wasm"]).succeeded();
    assert_eq!((output.text().as_str(), output.stderr.as_str()), ("hello from wasm\n", ""));
    let output = namespace.ctr().container(&["--rm"], &image, "exit", &["/bin/exit.wasm", "42"]);
    assert_eq!(output.code, 42, "{output:?}");
}

#[test]
fn a_trap_is_134_with_its_text_and_call_stack_on_stderr() {
    let bed = Bed::shared();
    let namespace = bed.namespace("traps");
    let image = namespace.import_guests(&["trap"]);
    let cases = [
        ("unreachable", "unreachable"),
        ("divide", "integer divide by zero"),
        ("memory", "out of bounds memory"),
    ];
    for (how, words) in cases {
        let finished = namespace.container(&image, how, &["/bin/trap.wasm", how]).run();
        assert_eq!(finished.code, 134, "{how}: {finished:?}");
        assert_eq!(finished.text(), "before the trap\n", "{how}");
        assert!(finished.stderr.contains(words), "{how}: {}", finished.stderr);
        // Innermost first, by the names in the module's name section.
        let places = ["innermost", "middle", "outermost"].map(|name| finished.stderr.find(name));
        assert!(places.is_sorted() && places[0].is_some(), "{how}: {}", finished.stderr);
    }
}

#[test]
fn sigkill_is_137_and_sigterm_143_whatever_the_guest_does() {
    let bed = Bed::shared();
    let namespace = bed.namespace("signals");
    let image = namespace.import_guests(&["wait"]);
    for how in ["spin", "sleep", "poll"] {
        for (signal, code) in [(9, 137), (15, 143)] {
            let id = format!("{how}-{signal}");
            let task = namespace.container(&image, &id, &["/bin/wait.wasm", how]).input().start();
            task.stdout().wait_until_it_says("ready");
            task.kill(signal).unwrap();
            assert_eq!(task.finish().code, code, "{id}");
        }
    }
}

#[test]
fn a_container_killed_before_its_start_is_137() {
    let bed = Bed::shared();
    let namespace = bed.namespace("unborn");
    let image = namespace.import_guests(&["hello"]);
    let task = namespace.container(&image, "unborn", &["/bin/hello.wasm"]).create().unwrap();
    task.kill(9).unwrap();
    let finished = task.finish();
    assert_eq!((finished.code, finished.text().as_str()), (137, ""));
}

#[test]
fn ctr_task_kill_ends_a_guest_that_never_ends() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ctrkill");
    let image = namespace.import_guests(&["wait"]);
    let ctr = namespace.ctr();
    ctr.container(&["--detach", "--null-io"], &image, "spin", &["/bin/wait.wasm", "spin"]).succeeded();
    ctr.run(&["task", "kill", "--signal", "SIGTERM", "spin"]).succeeded();
    e2e::eventually("the task to stop", || ctr.run(&["task", "ls"]).text().contains("STOPPED"));
    // ctr ends with the code of the task it deletes, or tells it, as its release has it.
    let output = ctr.run(&["task", "delete", "spin"]);
    assert!(output.code == 143 || output.stderr.contains("143"), "{output:?}");
    ctr.run(&["container", "delete", "spin"]).succeeded();
}
