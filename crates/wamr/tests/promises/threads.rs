//! wasi-threads, in processes that the C library did not fork.

use wamr::{Instance, InstanceOptions};

use crate::harness::{Guest, TRAPPED, exit_code, in_child, load, wat, with_engine};

/// `start` runs in the main thread, `thread` in the others (local 1 is what they were spawned with).
fn threaded(start: &str, thread: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (import "env" "memory" (memory 1 4 shared))
            (export "memory" (memory 0))
            (func $sleep (param i64)
                (i32.store (i32.const 144) (i32.const 1))
                (i64.store (i32.const 152) (local.get 0))
                (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 64))))
            (func $thread (export "wasi_thread_start") (param i32 i32) {thread})
            (func $start (export "_start") (local i32) {start}))"#
    ))
}

/// Spawns eight threads that count, waits for them on a futex, and ends with their number.
fn counting() -> Vec<u8> {
    threaded(
        "(loop $spawning
            (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 1)) (then unreachable))
            (local.set 0 (i32.add (local.get 0) (i32.const 1)))
            (br_if $spawning (i32.lt_u (local.get 0) (i32.const 8))))
         (loop $waiting
            (local.set 0 (i32.atomic.load (i32.const 0)))
            (if (i32.lt_u (local.get 0) (i32.const 8)) (then
                (drop (memory.atomic.wait32 (i32.const 0) (local.get 0) (i64.const -1)))
                (br $waiting))))
         (call $exit (local.get 0))",
        "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
         (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))",
    )
}

#[test]
fn a_guest_can_have_more_threads_than_wamrs_default() {
    let wasm = counting();
    let ended = Guest::new(&wasm).run();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (8, "", ""));
}

/// A fork that the C library learns nothing of; with the flags the zygote uses, or none.
fn raw_clone(flags: u64, child_tid: u64) -> i32 {
    let mut args = [0u64; 11];
    args[0] = flags;
    args[2] = child_tid;
    args[4] = libc::SIGCHLD as u64;
    // SAFETY: no new stack: both sides go on on copies of this one; this process has one thread.
    unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) as i32 }
}

/// Exit code of a guest whose process was made by `clone`, from a template of it.
fn forked_from_template(wasm: &[u8], clone: impl FnOnce() -> i32) -> i32 {
    let ended = in_child(|| {
        with_engine(|engine| {
            let module = load(engine, wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
            let mut template = Instance::new(&module, options).unwrap();
            let child = clone();
            assert!(child >= 0);
            if child == 0 {
                let code = Guest::new(wasm).enter(&mut template);
                // SAFETY: ends the process.
                unsafe { libc::_exit(code) };
            }
            let mut status = 0;
            // SAFETY: our own child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            exit_code(status)
        })
    });
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    ended.code
}

#[test]
fn threads_work_in_a_child_of_raw_clone3() {
    let wasm = counting();
    assert_eq!(forked_from_template(&wasm, || raw_clone(0, 0)), 8);
}

#[test]
fn threads_work_in_a_child_of_clone3_in_a_new_pid_namespace() {
    let wasm = counting();
    assert_eq!(forked_from_template(&wasm, || raw_clone(libc::CLONE_NEWPID as u64, 0)), 8);
}

#[test]
fn threads_work_in_a_child_of_clone3_that_sets_the_thread_id() {
    let wasm = counting();
    let clone = || {
        let mut address = 0u64;
        // SAFETY: one pointer is written.
        unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) };
        raw_clone((libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64, address)
    };
    assert_eq!(forked_from_template(&wasm, clone), 8);
}

/// The main thread sleeps an hour, another one ends the program: WAMR must find the main thread to wake it.
#[test]
fn a_thread_ends_the_program_while_the_main_thread_sleeps() {
    let wasm = threaded(
        "(drop (call $spawn (i32.const 0))) (call $sleep (i64.const 3600000000000))",
        "(call $sleep (i64.const 50000000)) (call $exit (i32.const 21))",
    );
    assert_eq!(Guest::new(&wasm).run().code, 21);
    assert_eq!(forked_from_template(&wasm, || raw_clone(0, 0)), 21);
    assert_eq!(forked_from_template(&wasm, || raw_clone(libc::CLONE_NEWPID as u64, 0)), 21);
}

#[test]
fn the_main_threads_return_ends_the_program_whatever_the_others_do() {
    for rest in ["(call $sleep (i64.const 3600000000000))", "(loop $for_ever (br $for_ever))"] {
        let wasm = threaded("(drop (call $spawn (i32.const 0)))", rest);
        assert_eq!(Guest::new(&wasm).run().code, 0);
    }
}

#[test]
fn a_trap_in_a_thread_is_the_programs_and_shows_the_threads_stack() {
    let wasm = threaded(
        "(drop (call $spawn (i32.const 0))) (call $sleep (i64.const 3600000000000))",
        "(drop (i32.load (i32.const -4)))",
    );
    let ended = Guest::new(&wasm).run();
    assert_eq!(ended.code, TRAPPED);
    assert_eq!(ended.stderr, "wasm trap: out of bounds memory access\n  #0 thread");
}

#[test]
fn a_shared_memory_is_capped_too() {
    let wasm = threaded("(call $exit (memory.grow (i32.const 2)))", "");
    let run = |max_memory_pages| Guest { max_memory_pages, ..Guest::new(&wasm) }.run().code;
    assert_eq!(run(Some(3)), 1);
    assert_eq!(run(Some(2)), 255);
    assert_eq!(run(None), 1);
}
