//! The cap on linear memory, and what the engine itself costs.

use wamr::{Instance, InstanceOptions};

use crate::harness::{Guest, NOT_RUN, exit_code, in_child, load, wat, with_engine};

/// Grows page by page until that fails, and ends with the number of pages it had then.
const GROWS: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2 100)
    (func (export "_start")
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
        (call $exit (memory.size))))"#;

#[test]
fn memory_grows_to_the_cap_and_not_further() {
    let wasm = wat(GROWS);
    let run = |max_memory_pages| Guest { max_memory_pages, ..Guest::new(&wasm) }.run().code;
    assert_eq!(run(Some(2)), 2);
    assert_eq!(run(Some(9)), 9);
    assert_eq!(run(None), 100);
    assert_eq!(run(Some(65536)), 100);
}

#[test]
fn a_cap_below_the_initial_size_is_an_error_in_words() {
    let wasm = wat(GROWS);
    let ended = Guest { max_memory_pages: Some(1), ..Guest::new(&wasm) }.run();
    assert_eq!(ended.code, NOT_RUN);
    assert_eq!(ended.stderr, "memory is limited to 1 pages of 64 KiB, and the module needs 2 to start");
}

#[test]
fn children_of_one_template_have_caps_of_their_own() {
    let wasm = wat(GROWS);
    let ended = in_child(|| {
        with_engine(|engine| {
            let module = load(engine, &wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
            let mut template = Instance::new(&module, options).unwrap();
            for cap in [3, 50, 7] {
                // SAFETY: this process has one thread.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    template.set_max_memory_pages(cap).unwrap();
                    let code = Guest::new(&wasm).enter(&mut template);
                    // SAFETY: ends the process.
                    unsafe { libc::_exit(code) };
                }
                let mut status = 0;
                // SAFETY: our own child.
                unsafe { libc::waitpid(child, &mut status, 0) };
                assert_eq!(exit_code(status), cap as i32);
            }
            assert_eq!(template.memory_pages(), 2);
            0
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn the_cap_can_be_moved_and_not_below_what_is_used() {
    let wasm = wat(GROWS);
    let ended = in_child(|| {
        with_engine(|engine| {
            let module = load(engine, &wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: Some(5) };
            let mut instance = Instance::new(&module, options).unwrap();
            assert_eq!(Guest::new(&wasm).enter(&mut instance), 5);
            assert_eq!(instance.memory_pages(), 5);
            assert!(instance.set_max_memory_pages(4).is_err());
            instance.set_max_memory_pages(8).unwrap();
            Guest::new(&wasm).enter(&mut instance)
        })
    });
    assert_eq!((ended.code, ended.stderr.as_str()), (8, ""));
}

#[test]
fn a_memory_that_cannot_grow_is_capped_by_its_size() {
    let wasm = wat(
        r#"(module (memory (export "memory") 3) (func (export "_start") (i32.store (i32.const 196604) (i32.const 1))))"#,
    );
    let run = |max_memory_pages| Guest { max_memory_pages, ..Guest::new(&wasm) }.run().code;
    assert_eq!(run(Some(2)), NOT_RUN);
    assert_eq!(run(Some(3)), 0);
    assert_eq!(run(Some(4)), 0);
}

#[test]
fn four_gibibytes_can_be_declared() {
    let wasm = wat(r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 65536)
        (func (export "_start")
            (i32.store (i32.const -4) (i32.const 1))
            (call $exit (i32.add (i32.load (i32.const -4)) (memory.grow (i32.const 1))))))"#);
    let ended = Guest::new(&wasm).run();
    // A host that does not overcommit so much refuses, in words.
    if ended.code == NOT_RUN {
        assert_eq!(ended.stderr, "the module cannot be instantiated: allocate linear memory failed");
    } else {
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    }
    assert_eq!(ended.stdout, "");
    let ended = Guest { max_memory_pages: Some(100), ..Guest::new(&wasm) }.run();
    assert_eq!(ended.stderr, "memory is limited to 100 pages of 64 KiB, and the module needs 65536 to start");
}

/// Anonymous memory of this process in KiB: what it dirtied, without pages of files.
fn anonymous() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_engine_and_a_deep_stack_keep_no_memory() {
    let wasm = wat(GROWS);
    let ended = in_child(|| {
        let before = anonymous();
        with_engine(|engine| {
            let with_engine = anonymous();
            let module = load(engine, &wasm);
            let options = InstanceOptions { stack_size: 8 << 20, max_memory_pages: None };
            let _instance = Instance::new(&module, options).unwrap();
            // The thread's stack has 2 MiB, the guest's 8.
            assert!(with_engine - before < 128, "engine: {} KiB", with_engine - before);
            assert!(anonymous() - with_engine < 96, "instance: {} KiB", anonymous() - with_engine);
            0
        })
    });
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}
