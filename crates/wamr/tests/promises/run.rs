//! Entering a guest, and the ways out of it.

use wamr::{Entry, Instance, InstanceOptions};

use crate::harness::{Guest, NOT_RUN, TRAPPED, in_child, load, wat, with_engine};

/// Runs `body` as `_start`.
fn start(body: &str) -> (i32, String) {
    let wasm = wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func $divide (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
            (func $recurse (param i32) (result i32) (i32.add (i32.const 1) (call $recurse (local.get 0))))
            (table 1 funcref)
            (func $start (export "_start") {body}))"#
    ));
    let ended = Guest::new(&wasm).run();
    assert_eq!(ended.stdout, "");
    (ended.code, ended.stderr)
}

#[test]
fn the_exit_code_is_the_guests() {
    assert_eq!(start(""), (0, String::new()));
    for (given, seen) in [(0, 0), (1, 1), (7, 7), (126, 126), (255, 255), (256, 0), (259, 3), (-1, 255)] {
        assert_eq!(start(&format!("(call $exit (i32.const {given})) unreachable")), (seen, String::new()));
    }
}

#[test]
fn a_trap_says_what_and_where() {
    let trap = |body, text: &str| assert_eq!(start(body), (TRAPPED, text.to_owned()));
    trap("unreachable", "wasm trap: unreachable\n  #0 start");
    trap("(drop (call $divide (i32.const 0)))", "wasm trap: integer divide by zero\n  #0 divide\n  #1 start");
    trap("(drop (i32.load (i32.const 70000)))", "wasm trap: out of bounds memory access\n  #0 start");
    trap(
        "(i32.store offset=4294967295 (i32.const -1) (i32.const 0))",
        "wasm trap: out of bounds memory access\n  #0 start",
    );
    trap("(call_indirect (i32.const 0))", "wasm trap: uninitialized element\n  #0 start");
    trap("(drop (i32.trunc_f64_s (f64.const nan)))", "wasm trap: invalid conversion to integer\n  #0 start");
}

#[test]
fn a_guest_that_recurses_for_ever_traps() {
    let (code, text) = start("(drop (call $recurse (i32.const 0)))");
    assert_eq!(code, TRAPPED);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "wasm trap: wasm operand stack overflow");
    assert_eq!(lines[1], "  #0 recurse");
    assert_eq!(lines.len(), 1 + 32 + 1);
    assert!(lines[33].starts_with("  ... and ") && lines[33].ends_with(" callers"), "{}", lines[33]);
}

#[test]
fn a_function_without_a_name_is_numbered() {
    let mut wasm =
        wat(r#"(module (memory (export "memory") 1) (func unreachable) (func (export "_start") call 0))"#);
    let names = wasm.windows(4).position(|w| w == b"name").map(|at| at - 3);
    if let Some(at) = names {
        wasm.truncate(at);
    }
    assert_eq!(Guest::new(&wasm).run().stderr, "wasm trap: unreachable\n  #0 $f0\n  #1 _start");
}

#[test]
fn simd_bulk_memory_tail_calls_and_extended_constants_run() {
    let wasm = wat(r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (global $seven i32 (i32.add (i32.const 3) (i32.const 4)))
        (table $t 2 externref)
        (func $pair (result i32 i32) (i32.const 4) (i32.extend8_s (i32.const 0x1ff)))
        (func $down (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (return (i32.const 5))))
            (return_call $down (i32.sub (local.get 0) (i32.const 1))))
        (func (export "_start") (local i32)
            (memory.fill (i32.const 0) (i32.const 2) (i32.const 64))
            (memory.copy (i32.const 64) (i32.const 0) (i32.const 64))
            (table.set $t (i32.const 1) (ref.null extern))
            (call $exit
                (i32.add (i32.add (i32.add
                    ;; 2 + 2, in each of sixteen lanes
                    (i8x16.extract_lane_u 9
                        (i8x16.add (v128.load (i32.const 16)) (v128.load (i32.const 80))))
                    ;; 5, on one frame
                    (call $down (i32.const 1000000)))
                    ;; 7
                    (global.get $seven))
                    ;; 4 + -1
                    (i32.add (call $pair))))))"#);
    let ended = Guest::new(&wasm).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (4 + 5 + 7 + 3, ""));
}

const LIBRARY: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (global $ready (mut i32) (i32.const 1))
    (func (export "_initialize") (global.set $ready (i32.add (global.get $ready) (i32.const 20))))
    (func (export "nothing"))
    (func (export "code") (result i32) (global.get $ready))
    (func (export "wide") (result i64) (i64.const 9))
    (func (export "pair") (result i32 i32) (i32.const 9) (i32.const 9))
    (func (export "leaves") (call $exit (i32.const 33)))
    (func (export "takes") (param i32)))"#;

#[test]
fn an_export_is_run_after_initialize_and_an_i32_is_its_exit_code() {
    let wasm = wat(LIBRARY);
    let run = |name| {
        let ended = Guest { entry: Entry::Export(name), ..Guest::new(&wasm) }.run();
        (ended.code, ended.stderr)
    };
    assert_eq!(run("nothing"), (0, String::new()));
    assert_eq!(run("code"), (21, String::new()));
    assert_eq!(run("wide"), (0, String::new()));
    assert_eq!(run("pair"), (0, String::new()));
    assert_eq!(run("leaves"), (33, String::new()));
    assert_eq!(run("_initialize"), (0, String::new()));
}

#[test]
fn an_entry_that_cannot_be_run_is_told_before_running() {
    let wasm = wat(LIBRARY);
    let run = |entry| {
        let ended = Guest { entry, ..Guest::new(&wasm) }.run();
        (ended.code, ended.stderr)
    };
    let told = |text: &str| (NOT_RUN, text.to_owned());
    assert_eq!(run(Entry::Start), told("the module exports no function `_start` (is it a library?)"));
    assert_eq!(run(Entry::Export("absent")), told("the module exports no function `absent`"));
    assert_eq!(
        run(Entry::Export("takes")),
        told("the exported function `takes` cannot be run: it takes arguments")
    );
}

#[test]
fn no_guest_code_runs_at_instantiation() {
    // Everything WAMR would call on its own while it instantiates.
    let wasm = wat(r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (global $order (mut i32) (i32.const 0))
        (func $then (param i32)
            (global.set $order (i32.add (i32.mul (global.get $order) (i32.const 10)) (local.get 0))))
        (start $begin)
        (func $begin (call $then (i32.const 1)))
        (func (export "_initialize") (call $then (i32.const 2)))
        (func (export "__post_instantiate") unreachable)
        (func (export "__wasm_call_ctors") unreachable)
        (func (export "_initialize_") (call $then (i32.const 9)))
        (func (export "order") (result i32) (global.get $order)))"#);
    let ended = in_child(|| {
        with_engine(|engine| {
            let module = load(engine, &wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
            let mut instance = Instance::new(&module, options).unwrap();
            for export in module.exported_functions() {
                instance.check_entry(&Entry::Export(&export)).unwrap();
            }
            Guest { entry: Entry::Export("order"), ..Guest::new(&[]) }.enter(&mut instance)
        })
    });
    assert_eq!((ended.code, ended.stderr.as_str()), (12, ""));
}

#[test]
fn a_start_function_that_traps_is_a_trap_of_the_guest() {
    let wasm = wat(
        r#"(module (memory (export "memory") 1) (start $begin) (func $begin unreachable) (func (export "_start")))"#,
    );
    let ended = Guest::new(&wasm).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (TRAPPED, "wasm trap: unreachable\n  #0 begin"));
}
