//! Signals end a guest wherever it is.

use crate::harness::{Guest, exit_code, say, spawn, wat};

/// Says that it runs, then does `body` for ever.
fn busy(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (import "env" "memory" (memory 1 1 shared))
            (export "memory" (memory 0))
            (data (i32.const 0) "\08\00\00\00\08\00\00\00running\n")
            (func $say (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))))
            ;; a subscription to the monotonic clock, in an hour
            (func $sleep
                (i32.store (i32.const 144) (i32.const 1))
                (i64.store (i32.const 152) (i64.const 3600000000000))
                (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 64))))
            (func (export "wasi_thread_start") (param i32 i32)
                (if (local.get 1) (then (call $say) (loop $for_ever (br $for_ever))) (else (call $sleep))))
            (func (export "_start") {body}))"#
    ))
}

/// Status with which a guest ends that is sent `signal` once it runs.
fn ended_by(signal: i32, body: &str) -> i32 {
    let wasm = busy(body);
    let child = spawn(|| {
        wamr::signals::exit_on_termination().unwrap();
        Guest::new(&wasm).run_here()
    });
    child.wait_for_output();
    std::thread::sleep(std::time::Duration::from_millis(20));
    child.kill(signal);
    child.wait().code
}

const LOOP: &str = "(call $say) (loop $for_ever (br $for_ever))";
const SLEEP: &str = "(call $say) (call $sleep)";

#[test]
fn sigterm_ends_a_guest_in_a_loop_with_143() {
    assert_eq!(ended_by(libc::SIGTERM, LOOP), 143);
}

#[test]
fn sigterm_ends_a_guest_that_sleeps_with_143() {
    assert_eq!(ended_by(libc::SIGTERM, SLEEP), 143);
}

#[test]
fn sigterm_ends_a_guest_with_threads_with_143() {
    let threads = "(drop (call $spawn (i32.const 0))) (drop (call $spawn (i32.const 1))) (call $sleep)";
    assert_eq!(ended_by(libc::SIGTERM, threads), 143);
}

#[test]
fn every_terminating_signal_ends_a_guest_with_128_and_its_number() {
    for signal in
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGRTMIN() + 3]
    {
        assert_eq!(ended_by(signal, SLEEP), 128 + signal);
    }
}

#[test]
fn sigterm_ends_process_1_of_a_pid_namespace() {
    let wasm = busy(LOOP);
    let child = spawn(|| {
        // SAFETY: the next child is process 1 of a new namespace; this process has one thread.
        let init = unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWPID), 0);
            libc::fork()
        };
        if init == 0 {
            assert_eq!(std::process::id(), 1);
            wamr::signals::exit_on_termination().unwrap();
            let code = Guest::new(&wasm).run_here();
            // SAFETY: ends the process.
            unsafe { libc::_exit(code) };
        }
        say(0, "");
        std::thread::sleep(std::time::Duration::from_millis(500));
        let mut status = 0;
        // SAFETY: our own child.
        unsafe {
            libc::kill(init, libc::SIGTERM);
            libc::waitpid(init, &mut status, 0);
        }
        exit_code(status)
    });
    let ended = child.wait();
    assert_eq!((ended.code, ended.stdout.as_str()), (143, "running\n"), "{}", ended.stderr);
}

#[test]
fn a_trap_is_still_a_trap_with_the_handlers_installed() {
    let wasm = busy("(drop (i32.load (i32.const -4)))");
    let child = spawn(|| {
        wamr::signals::exit_on_termination().unwrap();
        Guest::new(&wasm).run_here()
    });
    assert_eq!(child.wait().code, crate::harness::TRAPPED);
}

#[test]
fn signals_that_wamr_needs_are_refused() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGRTMAX(), libc::SIGKILL] {
        assert!(wamr::signals::exit_on(&[signal]).is_err(), "{signal}");
    }
}

#[test]
fn writing_to_a_closed_pipe_gives_the_guest_epipe() {
    let wasm = wat(r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\08\00\00\00\01\00\00\00x")
        (func (export "_start")
            (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))))"#);
    let child = spawn(|| {
        let mut pipe = [0; 2];
        // SAFETY: two descriptors are written; then plain system calls.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::pipe(pipe.as_mut_ptr());
            libc::dup2(pipe[1], 1);
            libc::close(pipe[0]);
        }
        wamr::signals::exit_on_termination().unwrap();
        Guest::new(&wasm).run_here()
    });
    const EPIPE_IN_WASI: i32 = 64;
    assert_eq!(child.wait().code, EPIPE_IN_WASI);
}
