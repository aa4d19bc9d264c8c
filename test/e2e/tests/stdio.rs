//! Promise: arguments, environment and the three streams reach the guest and come back whole.

use e2e::{Bed, eventually};

#[test]
fn arguments_and_environment_arrive_in_order() {
    let bed = Bed::shared();
    let namespace = bed.namespace("env");
    let image = namespace.import_guests(&["env"]);
    let args = ["/bin/env.wasm", "one", "two words", "", "ünï"];
    let finished = namespace.container(&image, "env", &args).env("FOO", "bar=baz").env("EMPTY", "").run();
    let text = finished.text();
    for (i, arg) in args.iter().enumerate().skip(1) {
        assert!(text.contains(&format!("arg {i} {arg}\n")), "{text}");
    }
    for entry in ["FOO=bar=baz", "EMPTY=", "PATH="] {
        assert!(text.contains(&format!("env {entry}")), "{text}");
    }
    let output = namespace.ctr().container(&["--rm", "--env", "A=b"], &image, "ctr", &args).succeeded();
    assert!(output.text().contains("env A=b\n"), "{output:?}");
}

#[test]
fn stdin_reaches_the_guest_and_closing_it_is_an_end_of_file() {
    let bed = Bed::shared();
    let namespace = bed.namespace("stdin");
    let image = namespace.import_guests(&["cat"]);
    let mut task = namespace.container(&image, "cat", &["/bin/cat.wasm", "5"]).input().start();
    task.write(b"first\n");
    task.stdout().wait_until_it_says("first\n");
    task.write(b"second\n");
    task.close_input();
    let finished = task.finish();
    assert_eq!((finished.code, finished.text().as_str()), (5, "first\nsecond\n"));
}

#[test]
fn without_stdin_a_guest_reads_an_end_of_file_at_once() {
    let bed = Bed::shared();
    let namespace = bed.namespace("nostdin");
    let image = namespace.import_guests(&["cat"]);
    assert_eq!(namespace.container(&image, "cat", &["/bin/cat.wasm", "6"]).run().code, 6);
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let bed = Bed::shared();
    let namespace = bed.namespace("apart");
    let image = namespace.import_guests(&["both"]);
    let finished = namespace.container(&image, "both", &["/bin/both.wasm"]).run();
    let lines = |word: &str| (0..10).map(|i| format!("{word} {i}\n")).collect::<String>();
    assert_eq!((finished.text(), finished.stderr), (lines("out"), lines("err")));
    let output = namespace.ctr().container(&["--rm"], &image, "ctr", &["/bin/both.wasm"]).succeeded();
    assert_eq!((output.text(), output.stderr), (lines("out"), lines("err")));
}

#[test]
fn a_hundred_megabytes_of_output_arrive_whole_and_pass_the_server_by() {
    let bed = Bed::shared();
    let namespace = bed.namespace("flood");
    let image = namespace.import_guests(&["flood", "wait"]);
    // Keeps the server, and shows that it is the same one afterwards.
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm", "sleep"]).start();
    let server = namespace.server().process;
    namespace.container(&image, "small", &["/bin/flood.wasm", "1"]).run();
    let before = server.private_memory();

    let finished = namespace.container(&image, "flood", &["/bin/flood.wasm", "100"]).run();
    assert_eq!((finished.code, finished.stdout.len()), (0, 100_000_000), "{}", finished.stderr);
    for (number, line) in finished.stdout.chunks(10).enumerate() {
        assert_eq!(line, format!("{number:09}\n").as_bytes());
    }
    let after = server.private_memory();
    assert!(server.is_there() && before > 0);
    assert!(after < before + (2 << 20), "the server grew from {before} to {after} bytes");
    keeper.end();
}

#[test]
fn output_goes_to_a_file_when_asked_to() {
    let bed = Bed::shared();
    let namespace = bed.namespace("file");
    let image = namespace.import_guests(&["both"]);
    let log = bed.folder().join("logs").join("both.log");
    let uri = format!("file://{}", log.display());
    // Twice: what is there is appended to.
    for id in ["first", "second"] {
        let finished = namespace.container(&image, id, &["/bin/both.wasm"]).stdout(&uri).stderr(&uri).run();
        assert_eq!(finished.code, 0);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("out ")).count(), 20, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("err ")).count(), 20, "{text}");
}

#[test]
fn ctr_log_uri_takes_a_file() {
    let bed = Bed::shared();
    let namespace = bed.namespace("loguri");
    let image = namespace.import_guests(&["hello"]);
    let log = bed.folder().join("hello.log");
    let uri = format!("file://{}", log.display());
    let ctr = namespace.ctr();
    ctr.container(&["--detach", "--log-uri", &uri], &image, "hello", &["/bin/hello.wasm"]).succeeded();
    eventually("the log", || std::fs::read_to_string(&log).is_ok_and(|text| text == "hello from wasm\n"));
    eventually("the task to stop", || ctr.run(&["task", "ls"]).text().contains("STOPPED"));
    ctr.run(&["task", "delete", "hello"]).succeeded();
    ctr.run(&["container", "delete", "hello"]).succeeded();
}

#[test]
fn output_goes_to_a_logging_program_when_asked_to() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::shared();
    let namespace = bed.namespace("binary");
    let image = namespace.import_guests(&["both"]);
    let (program, log) = (bed.folder().join("logger.sh"), bed.folder().join("logger.log"));
    // containerd's protocol: 3 is stdout, 4 is stderr, closing 5 says "ready".
    let script =
        "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_NAMESPACE/$CONTAINER_ID\"; cat <&3; cat <&4; } >\"$2\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let uri = format!("binary://{}?to={}", program.display(), log.display());
    namespace.container(&image, "both", &["/bin/both.wasm"]).stdout(&uri).stderr(&uri).run();
    let lines = |word: &str| (0..10).map(|i| format!("{word} {i}\n")).collect::<String>();
    let expected = format!("{}/both\n{}{}", namespace.name, lines("out"), lines("err"));
    eventually("the program's log", || std::fs::read_to_string(&log).is_ok_and(|text| text == expected));
}

#[test]
fn a_guest_without_streams_runs() {
    let bed = Bed::shared();
    let namespace = bed.namespace("nowhere");
    let image = namespace.import_guests(&["flood"]);
    let container = namespace.container(&image, "flood", &["/bin/flood.wasm", "1"]).stdout("").stderr("");
    assert_eq!(container.run().code, 0);
}
