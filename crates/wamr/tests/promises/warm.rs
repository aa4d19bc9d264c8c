//! Promise: a guest runs to its ready point once, and goes on from there in any number of processes, each with its own
//! memory from then on. A guest of which that cannot be is refused with the reason.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use wamr::{Entry, Error, Preopen};

use crate::compiled::compiled;
use crate::harness::{Guest, Image, TRAPPED, TempDir, c, in_child, say, wat, with_engine};

/// Is ready deep in its calls; then does `after`, which may look at the sum of all it has: 29.
fn ready_and_then(after: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "path_filestat_get"
                (func $stat (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 2 10)
            (global $g (mut i32) (i32.const 0))
            (data (i32.const 16) "/tmp/.warm-start")
            (func $ready (result i32) (call $stat (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 16) (i32.const 64)))
            (func $deep (param $n i32) (result i32)
                (if (i32.eqz (local.get $n)) (then (return (call $ready))))
                (i32.add (local.get $n) (call $deep (i32.sub (local.get $n) (i32.const 1)))))
            ;; No loop can be made of it.
            (func $too_deep (param $n i32) (result i32)
                (if (i32.eqz (local.get $n)) (then (return (i32.const 1))))
                (i32.sub (i32.load (i32.and (local.get $n) (i32.const 0xffff))) (call $too_deep (i32.sub (local.get $n) (i32.const 1)))))
            (func $start (export "_start") (local $sum i32)
                (global.set $g (i32.add (global.get $g) (i32.const 4)))
                (i32.store8 (i32.const 70000) (i32.add (i32.load8_u (i32.const 70000)) (i32.const 2)))
                (drop (memory.grow (i32.const 1)))
                (i32.store8 (i32.const 140000) (i32.const 1))
                ;; 15, then what kind of file it is: 4, a regular one
                (local.set $sum (i32.add (call $deep (i32.const 5)) (i32.load8_u (i32.const 80))))
                (local.set $sum (i32.add (local.get $sum) (global.get $g)))
                (local.set $sum (i32.add (local.get $sum) (i32.load8_u (i32.const 70000))))
                (local.set $sum (i32.add (local.get $sum) (i32.load8_u (i32.const 140000))))
                (local.set $sum (i32.add (local.get $sum) (memory.size)))
                {after})
            (func (export "run") (result i32) (call $start) (i32.const 41)))"#
    ))
}

/// Runs `body` in a child, with the guest's warm image, from its interpreted form.
fn with_warm(guest: &Guest<'_>, body: impl Fn(&wamr::Engine, &Image)) {
    let ended = in_child(|| {
        with_engine(|engine| {
            let image = Image::of(engine, guest.wasm).unwrap();
            body(engine, &guest.warm(engine, &image).unwrap());
            0
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// Why no warm image can be made.
fn refusal(guest: &Guest<'_>) -> String {
    let ended = in_child(|| {
        with_engine(|engine| {
            let image = Image::of(engine, guest.wasm).unwrap();
            say(7, &guest.warm(engine, &image).map(drop).unwrap_err())
        })
    });
    assert_eq!(ended.code, 7, "{}", ended.stderr);
    ended.stderr
}

#[test]
fn copies_go_on_where_the_first_one_stopped_and_do_not_see_each_other() {
    let wasm = ready_and_then("(i32.store8 (i32.const 70000) (i32.const 99)) (call $exit (local.get $sum))");
    let guest = Guest::new(&wasm);
    with_warm(&guest, |engine, warm| {
        let before = warm.bytes();
        for _ in 0..3 {
            let ended = in_child(|| guest.resume_here(engine, warm));
            assert_eq!((ended.code, ended.stderr.as_str()), (29, ""));
        }
        assert!(before == warm.bytes(), "the file has changed");
    });
}

#[test]
fn a_copy_may_return_and_an_export_s_result_is_its_exit_code() {
    let wasm = ready_and_then("");
    for (entry, code) in [(Entry::Start, 0), (Entry::Export("run"), 41)] {
        let guest = Guest { entry, ..Guest::new(&wasm) };
        with_warm(&guest, |engine, warm| assert_eq!(in_child(|| guest.resume_here(engine, warm)).code, code));
    }
}

#[test]
fn a_copy_traps_as_any_guest_does() {
    for (after, why) in [
        ("(drop (i32.load (i32.const 100000000)))", "out of bounds memory access"),
        ("(drop (call $too_deep (i32.const 10000000)))", "stack overflow"),
        ("(unreachable)", "unreachable"),
    ] {
        let wasm = ready_and_then(after);
        let guest = Guest::new(&wasm);
        with_warm(&guest, |engine, warm| {
            let ended = in_child(|| guest.resume_here(engine, warm));
            assert_eq!(ended.code, TRAPPED, "{}", ended.stderr);
            assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        });
    }
}

#[test]
fn a_guest_that_nobody_waits_for_is_told_that_there_is_no_such_file() {
    // `stat` fails: 8, EBADF, as it has no directory.
    let wasm = ready_and_then("(call $exit (call $ready))");
    assert_eq!(Guest::new(&wasm).run().code, 8);
}

#[test]
fn a_guest_that_does_not_say_that_it_is_ready_is_refused_with_how_it_ended() {
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    for (body, why) in [
        ("", "it returned without saying that it is ready"),
        ("(call $exit (i32.const 3))", "it exited with 3"),
        ("(unreachable)", "before it said that it is ready: wasm trap: unreachable"),
    ] {
        let wasm = wat(&format!(
            r#"(module {import} (memory (export "memory") 1) (func (export "_start") {body}))"#
        ));
        let said = refusal(&Guest::new(&wasm));
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn an_image_of_a_guest_that_has_not_run_cannot_be_resumed() {
    let wasm = ready_and_then("");
    let ended = in_child(|| {
        with_engine(|engine| {
            let mut instance = Image::of(engine, &wasm).unwrap().map(engine);
            i32::from(!matches!(instance.resume(&Entry::Start), Err(Error::ForeignImage)))
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// A C guest that does `before`, is ready, and does `after`.
fn c_guest(before: &str, after: &str) -> Option<Vec<u8>> {
    c(&format!(
        r#"#include <dirent.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/stat.h>
        #include <time.h>
        #include <unistd.h>
        __attribute__((import_module("wasi_snapshot_preview1"), import_name("sock_set_keep_alive")))
        int set_keep_alive(int fd, int on);
        char *kept;
        static int listener(void) {{ return atoi(getenv("LISTEN_FDS_FIRST_FD")); }}
        int main(int argc, char **argv) {{
            struct stat st;
            {before}
            int copy = stat("/.warm-start", &st) == 0;
            {after}
        }}"#
    ))
}

#[test]
fn what_can_not_be_shared_is_refused() {
    let directory = TempDir::new();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let closed = directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let host = directory.path().to_str().unwrap();
    for (before, why) in [
        (r#"open("/file", O_RDONLY);"#, "it has a file open"),
        ("close(0);", "closed or replaced"),
        ("fcntl(1, F_SETFL, O_NONBLOCK);", "changed the flags"),
        (r#"mkdir("/new", 0777);"#, "changed the file system"),
        (r#"fopen("/new", "w");"#, "changed the file system"),
        (r#"unlink("/file");"#, "changed the file system"),
    ] {
        let Some(wasm) = c_guest(before, "return copy;") else { return };
        // Nothing of it can be changed through a mount that is read-only.
        let preopens = [Preopen { guest: "/", host, read_only: false }];
        let guest = Guest { preopens: &preopens, ..Guest::new(&wasm) };
        let said = read_only(directory.path(), || refusal(&guest));
        assert!(said.contains(why), "{before}: {why}: {said}");
    }
}

#[test]
fn what_is_done_to_a_socket_to_serve_on_is_refused_beside_its_flags() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let preopens = [Preopen { guest: "/", host: "/", read_only: true }];
    for (before, why) in [
        ("accept(listener(), 0, 0);", "it waits for a connection"),
        ("shutdown(listener(), SHUT_RD);", "it used a socket"),
        ("char c; recv(listener(), &c, 1, 0);", "it used a socket"),
        ("set_keep_alive(listener(), 1);", "it set an option of a socket"),
        ("close(listener());", "closed or replaced"),
    ] {
        let Some(wasm) = c_guest(before, "return copy;") else { return };
        let guest = Guest { listener: Some(&listener), preopens: &preopens, ..Guest::new(&wasm) };
        let said = refusal(&guest);
        assert!(said.contains(why), "{before}: {why}: {said}");
    }
}

#[test]
fn a_copy_serves_on_its_own_socket_as_the_first_one_had_set_it_up() {
    let before = r#"
        fcntl(listener(), F_SETFL, O_NONBLOCK);
        if (accept(listener(), 0, 0) >= 0 || errno != EAGAIN) return 2;"#;
    let after = r#"
        if (!copy) return 1;
        if (!(fcntl(listener(), F_GETFL) & O_NONBLOCK)) return 3;
        char text[5];
        int fd = accept(listener(), 0, 0);
        if (recv(fd, text, 5, 0) != 5 || send(fd, text, 5, 0) != 5) return 4;
        return accept(listener(), 0, 0) >= 0 || errno != EAGAIN;"#;
    let Some(wasm) = c_guest(before, after) else { return };
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let first = bind();
    let preopens = [Preopen { guest: "/", host: "/", read_only: true }];
    let guest = Guest { listener: Some(&first), preopens: &preopens, ..Guest::new(&wasm) };
    with_warm(&guest, |engine, warm| {
        for _ in 0..2 {
            let own = bind();
            let mut client = TcpStream::connect(own.local_addr().unwrap()).unwrap();
            client.write_all(b"hello").unwrap();
            let copy = Guest { listener: Some(&own), ..guest };
            assert_eq!(in_child(|| copy.resume_here(engine, warm)).code, 0);
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            assert_eq!(said, "hello");
        }
    });
}

/// With the directory mounted on itself read-only.
fn read_only<R>(path: &std::path::Path, body: impl FnOnce() -> R) -> R {
    let mount = |arguments: &[&str]| {
        let done = std::process::Command::new("mount").args(arguments).arg(path).status().unwrap();
        assert!(done.success(), "mount {arguments:?}: run the tests as root");
    };
    mount(&["--bind", path.to_str().unwrap()]);
    mount(&["-o", "remount,bind,ro"]);
    let result = body();
    assert!(std::process::Command::new("umount").arg(path).status().unwrap().success());
    result
}

#[test]
fn a_copy_has_its_own_arguments_environment_files_and_clock() {
    let before = r#"
        struct timespec first, now;
        clock_gettime(CLOCK_MONOTONIC, &first);
        FILE *f = fopen("/file", "r");
        kept = malloc(100000);
        fgets(kept, 100, f);
        fclose(f);"#;
    let after = r#"
        if (!copy) return 1;
        clock_gettime(CLOCK_MONOTONIC, &now);
        FILE *g = fopen("/file", "r");
        char line[100];
        fgets(line, sizeof line, g);
        printf("%s %s %s %s\n", kept, line, getenv("NAME"),
            now.tv_sec > first.tv_sec || now.tv_nsec > first.tv_nsec ? "later" : "never");
        return 0;"#;
    let Some(wasm) = c_guest(before, after) else { return };
    let (first, second) = (TempDir::new(), TempDir::new());
    std::fs::write(first.path().join("file"), "first").unwrap();
    std::fs::write(second.path().join("file"), "second").unwrap();
    let at = |directory: &TempDir| {
        [Preopen { guest: "/", host: directory.path().to_str().unwrap().to_owned().leak(), read_only: false }]
    };
    let (here, there) = (at(&first), at(&second));
    let guest = Guest { preopens: &here, env: &["NAME=first"], ..Guest::new(&wasm) };
    with_warm(&guest, |engine, warm| {
        let copy = Guest { preopens: &there, env: &["NAME=second"], ..guest };
        let ended = in_child(|| copy.resume_here(engine, warm));
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (0, "first second second later\n"),
            "{}",
            ended.stderr
        );
    });
}

#[test]
fn a_guest_with_threads_is_refused() {
    let wasm = wat(r#"(module
            (import "wasi_snapshot_preview1" "path_filestat_get"
                (func $stat (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (memory (export "memory") 1 1 shared)
            (data (i32.const 16) ".warm-start")
            (func (export "wasi_thread_start") (param i32 i32)
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
            (func (export "_start")
                (drop (call $spawn (i32.const 0)))
                (drop (call $stat (i32.const 3) (i32.const 0) (i32.const 16) (i32.const 11) (i32.const 64)))))"#);
    let said = refusal(&Guest::new(&wasm));
    assert!(said.contains("it has threads"), "{said}");
}

#[test]
fn compiled_guests_are_copied_in_the_middle_of_their_code() {
    let wasm = ready_and_then("(i32.store8 (i32.const 70000) (i32.const 99)) (call $exit (local.get $sum))");
    let deep = ready_and_then("(drop (call $too_deep (i32.const 10000000)))");
    for (wasm, code, said) in [(wasm, 29, ""), (deep, TRAPPED, "stack overflow")] {
        for (tier, bytes) in compiled(&wasm).unwrap_or_default() {
            let guest = Guest::new(&wasm);
            let ended = in_child(|| {
                with_engine(|engine| {
                    let image = Image::of(engine, &bytes).unwrap();
                    let warm = guest.warm(engine, &image).unwrap();
                    guest.resume_here_with(engine, &warm, &image)
                })
            });
            assert_eq!(ended.code, code, "{tier}: {}", ended.stderr);
            assert!(ended.stderr.contains(said), "{tier}: {}", ended.stderr);
        }
    }
}
