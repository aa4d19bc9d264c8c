//! Promise: `--tty` is a terminal for the guest, and one that outlives the clients that come and go.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::ResizePtyRequest;
use containerd_client::tonic::{Code, Status};
use e2e::{Bed, Namespace, Task, Traces, eventually};

/// As the terminal's own settings echo and translate it.
const ECHO: &str = "hello\r\ngot <hello>\r\n";

fn resize(task: &Task, exec_id: &str, width: u32, height: u32) -> Result<(), Status> {
    let message =
        ResizePtyRequest { container_id: task.id.clone(), exec_id: exec_id.to_owned(), width, height };
    task.call(message, async |mut tasks, request| tasks.resize_pty(request).await.map(drop))
}

/// Rows and columns of the terminal that is a process's stdin.
fn size(pid: i32) -> (u16, u16) {
    let path = format!("/proc/{pid}/fd/0");
    let terminal =
        OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path).unwrap();
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request fills a winsize.
    assert_eq!(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &mut size) }, 0);
    (size.ws_row, size.ws_col)
}

/// The server's ends of terminals.
fn terminals(namespace: &Namespace) -> usize {
    namespace.server().process.descriptors().iter().filter(|to| to.contains("ptmx")).count()
}

#[test]
fn a_guest_sees_a_terminal_on_all_three_streams_when_it_was_given_one() {
    let bed = Bed::shared();
    let namespace = bed.namespace("isatty");
    let image = namespace.import_guests(&["tty"]);
    let task = namespace.container(&image, "with", &["/bin/tty.wasm"]).terminal().stderr("").input().start();
    task.stdout().wait_until_it_says("terminals: 1 1 1\r\n");
    task.end();
    let task = namespace.container(&image, "without", &["/bin/tty.wasm"]).input().start();
    task.stdout().wait_until_it_says("terminals: 0 0 0\n");
    task.end();
    let nothing = namespace.container(&image, "nothing", &["/bin/tty.wasm"]).run();
    assert_eq!(nothing.text(), "terminals: 0 0 0\n", "/dev/null is none");
}

#[test]
fn lines_typed_at_the_terminal_reach_the_guest_and_the_exit_code_comes_back() {
    let bed = Bed::shared();
    let namespace = bed.namespace("typed");
    let image = namespace.import_guests(&["tty"]);
    let mut task = namespace.container(&image, "a", &["/bin/tty.wasm"]).terminal().stderr("").input().start();
    // Before, the echo could come between.
    task.stdout().wait_until_it_says("terminals: 1 1 1\r\n");
    task.write(b"hello\n");
    task.stdout().wait_until_it_says(ECHO);
    // What is typed is edited by the terminal before the guest gets it: a backspace.
    task.write(b"nom\x7fw\n");
    task.stdout().wait_until_it_says("got <now>\r\n");
    task.write(b"quit\n");
    let finished = task.finish();
    assert_eq!(finished.code, 7);
    assert!(finished.text().ends_with("quit\r\n"), "{finished:?}");
    assert!(Traces::of_containers(&namespace).is_empty());
}

#[test]
fn control_c_at_the_terminal_interrupts_the_guest_and_control_d_ends_its_input() {
    let bed = Bed::shared();
    let namespace = bed.namespace("control");
    let image = namespace.import_guests(&["tty", "wait"]);
    for (id, args, key, code) in [
        ("reading", &["/bin/tty.wasm"][..], b"\x03", 130),
        ("spinning", &["/bin/wait.wasm", "spin"], b"\x03", 130),
        ("quitting", &["/bin/wait.wasm", "spin"], b"\x1c", 131),
        ("end", &["/bin/tty.wasm"], b"\x04", 0),
    ] {
        let mut task = namespace.container(&image, id, args).terminal().stderr("").input().start();
        eventually("the guest to run", || !task.stdout().so_far().is_empty());
        task.write(key);
        assert_eq!(task.finish().code, code, "{id}");
    }
}

#[test]
fn a_terminal_takes_the_size_its_client_has() {
    let bed = Bed::shared();
    let namespace = bed.namespace("resize");
    let image = namespace.import_guests(&["tty"]);
    let mut container = namespace.container(&image, "a", &["/bin/tty.wasm"]).terminal().stderr("").input();
    container.spec.set("/process", "consoleSize", serde_json::json!({ "height": 24, "width": 80 }));
    let task = container.create().unwrap();
    assert_eq!(size(task.pid), (24, 80), "before its start");
    task.start().unwrap();
    resize(&task, "", 132, 43).unwrap();
    assert_eq!(size(task.pid), (43, 132));
    assert_eq!(resize(&task, "nobody", 1, 1).unwrap_err().code(), Code::NotFound);
    task.kill(9).unwrap();
    task.wait();
    assert!(resize(&task, "", 80, 24).is_err(), "it has no terminal any more");
    task.finish();

    let plain = namespace.container(&image, "plain", &["/bin/tty.wasm"]).input().start();
    let refusal = resize(&plain, "", 80, 24).unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().contains("terminal"), "{refusal:?}");
    plain.end();
}

#[test]
fn clients_may_detach_and_others_attach() {
    let bed = Bed::shared();
    let namespace = bed.namespace("attach");
    let image = namespace.import_guests(&["tty"]);
    let fifo = |name: &str| bed.folder().join(format!("attach-{name}"));
    let output = fifo("stdout");
    make_fifo(&output);
    let mut first = attach(&output);
    let uri = output.display().to_string();
    let task =
        namespace.container(&image, "a", &["/bin/tty.wasm"]).terminal().stdout(&uri).stderr("").input();
    let mut task = task.start();
    read_until(&mut first, "terminals: 1 1 1\r\n");
    // Nobody reads now: the guest goes on, and what it says waits for the next client.
    drop(first);
    task.write(b"hello\n");
    let mut second = attach(&output);
    assert_eq!(read_until(&mut second, "got <hello>\r\n"), ECHO);

    // The same for input: another client opens the FIFO that the first one closed.
    let input = bed.fifos().join(&namespace.name).join("a-stdin");
    let mut typed = OpenOptions::new().write(true).open(&input).unwrap();
    typed.write_all(b"from another\n").unwrap();
    drop(typed);
    read_until(&mut second, "got <from another>\r\n");
    assert_eq!(task.state().0, "RUNNING");
    task.write(b"quit\n");
    assert_eq!(task.finish().code, 7);
    fs::remove_file(output).unwrap();
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    let bed = Bed::shared();
    let namespace = bed.namespace("exec");
    let image = namespace.import_guests(&["wait", "tty"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let (mut exec, process) = namespace.exec("a", "e", &["/bin/tty.wasm"]).terminal().input().start();
    exec.stdout().wait_until_it_says("terminals: 1 1 1\r\n");
    resize(&task, "e", 100, 50).unwrap();
    assert_eq!(size(process.pid), (50, 100));
    assert_eq!(
        resize(&task, "", 100, 50).unwrap_err().code(),
        Code::InvalidArgument,
        "the container has none"
    );
    exec.write(b"hello\n");
    exec.stdout().wait_until_it_says(ECHO);
    exec.write(b"quit\n");
    assert_eq!(exec.finish().code, 7);
    let (mut exec, _) = namespace.exec("a", "e", &["/bin/tty.wasm"]).terminal().input().start();
    exec.stdout().wait_until_it_says("terminals");
    exec.write(b"\x03");
    assert_eq!(exec.finish().code, 130);
    assert_eq!(task.state().0, "RUNNING");
    eventually("the terminals to close", || terminals(&namespace) == 0);
    task.end();
}

#[test]
fn the_last_words_of_a_guest_arrive_although_its_terminal_closes() {
    let bed = Bed::shared();
    let namespace = bed.namespace("last");
    let image = namespace.import_guests(&["flood"]);
    let container = namespace.container(&image, "a", &["/bin/flood.wasm", "1"]).terminal().stderr("");
    let finished = container.run();
    // The terminal puts a carriage return before each newline.
    assert_eq!((finished.code, finished.stdout.len()), (0, 1_100_000));
    assert!(finished.text().ends_with("000099999\r\n"));
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_nobody_and_leaves_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("unread");
    let image = namespace.import_guests(&["flood", "wait"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let server = namespace.server();
    let output = bed.folder().join("unread");
    make_fifo(&output);
    let uri = output.display().to_string();
    let container =
        namespace.container(&image, "a", &["/bin/flood.wasm", "1"]).terminal().stdout(&uri).stderr("");
    let task = container.start();
    let holds = || server.process.descriptors().contains(&uri);
    assert!(holds() && terminals(&namespace) > 0);
    assert_eq!(task.end().code, 137);
    assert_eq!(keeper.state().0, "RUNNING");
    eventually("the terminal and the FIFO to close", || terminals(&namespace) == 0 && !holds());
    keeper.end();
    fs::remove_file(output).unwrap();
}

fn make_fifo(path: &PathBuf) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

fn attach(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap()
}

/// Reads until the end of what came is as expected; returns it all.
fn read_until(file: &mut File, end: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    eventually(&format!("{end:?} at the terminal"), || {
        if let Ok(n) = file.read(&mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&all).ends_with(end)
    });
    String::from_utf8(all).unwrap()
}
