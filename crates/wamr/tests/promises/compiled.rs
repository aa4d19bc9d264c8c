//! Compiled code does what the interpreter does: the same guests both ways, by the real compiler.
//!
//! `WAMR_AOTC` names it (`deploy/build-aotc.sh` prints where it is; `make test` sets it). It needs LLVM to be built, so
//! without the variable these tests say that they are skipped.

use std::io::Write;
use std::process::{Command, Stdio};

use wamr::{Entry, Instance, InstanceOptions, Module, ModuleSource};

use crate::harness::{Ended, Guest, Image, NOT_RUN, TRAPPED, in_child, say, spawn, wat, with_engine};
use crate::large;

/// Compiles with each tier; `None`, and a word about it, without a compiler.
pub fn compiled(wasm: &[u8]) -> Option<Vec<(&'static str, Vec<u8>)>> {
    let mut code = vec![("quick", compile(wasm, "quick", false)?), ("top", compile(wasm, "top", false)?)];
    if std::fs::read_to_string("/proc/cpuinfo").unwrap().contains(" fsgsbase") {
        code.push(("quick, by GS", compile(wasm, "quick", true)?));
        code.push(("top, by GS", compile(wasm, "top", true)?));
    }
    Some(code)
}

/// By the GS register, or not.
fn compile(wasm: &[u8], tier: &str, segue: bool) -> Option<Vec<u8>> {
    let Some(compiler) = std::env::var_os("WAMR_AOTC") else {
        eprintln!("SKIPPED: WAMR_AOTC does not name a compiler");
        return None;
    };
    let mut child = Command::new(&compiler)
        .args(["--unconfined", "--tier", tier])
        .args(segue.then_some("--segue"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(wasm).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{tier}: {}", output.status);
    Some(output.stdout)
}

fn run_compiled(guest: &Guest<'_>, code: &[u8]) -> i32 {
    with_engine(|engine| {
        let module = Module::load_aot(engine, ModuleSource::from_bytes(code.to_vec())).unwrap();
        module.allow_to_run().unwrap();
        let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: guest.max_memory_pages };
        match Instance::new(&module, options) {
            Ok(mut instance) => guest.enter(&mut instance),
            Err(e) => say(NOT_RUN, &e.to_string()),
        }
    })
}

/// Runs a guest interpreted, checks its exit code, and then that it does the same compiled, loaded where it runs and from
/// an image. Of a trap, compiled code tells what, not where.
fn same(guest: &Guest<'_>, code: i32) -> Ended {
    let first_line =
        |ended: Ended| Ended { stderr: ended.stderr.lines().next().unwrap_or_default().to_owned(), ..ended };
    let expected = first_line(guest.run());
    assert_eq!(expected.code, code, "{expected:?}");
    for (tier, bytes) in compiled(guest.wasm).unwrap_or_default() {
        assert_eq!(first_line(in_child(|| run_compiled(guest, &bytes))), expected, "{tier}");
        let mapped = in_child(|| guest.run_here_from_image_of(&bytes));
        assert_eq!(first_line(mapped), expected, "{tier}, from an image");
    }
    expected
}

fn start(body: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2 100)
            (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
            (data $passive "\2a\00\00\00")
            (type $binary (func (param i32 i32) (result i32)))
            (table 4 4 funcref) (elem (i32.const 0) $start $divide $down)
            (global $order (mut i32) (i32.const 0))
            (func $divide (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
            (func $down (param i32) (result i32)
                (if (i32.eqz (local.get 0)) (then (return (i32.const 5))))
                (return_call $down (i32.sub (local.get 0) (i32.const 1))))
            (func $first (global.set $order (i32.const 1)))
            (start $first)
            (func $start (export "_start") {body}))"#
    ))
}

#[test]
fn exit_codes_and_output_are_the_same() {
    let told = same(
        &Guest::new(&start("(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64)))")),
        0,
    );
    assert_eq!(told.stdout, "hello\n");
    for (given, seen) in [(0, 0), (7, 7), (255, 255), (259, 3)] {
        same(&Guest::new(&start(&format!("(call $exit (i32.const {given})) unreachable"))), seen);
    }
    same(&Guest::new(&start("(call $exit (global.get $order))")), 1);
    let reactor = wat(r#"(module (memory (export "memory") 1) (global $ready (mut i32) (i32.const 1))
        (func (export "_initialize") (global.set $ready (i32.const 42)))
        (func (export "handle") (result i32) (global.get $ready)))"#);
    same(&Guest { entry: Entry::Export("handle"), ..Guest::new(&reactor) }, 42);
}

#[test]
fn traps_are_the_same() {
    for (body, words) in [
        ("unreachable", "unreachable"),
        ("(drop (call $divide (i32.const 1) (i32.const 0)))", "integer divide by zero"),
        ("(drop (call $divide (i32.const 0x80000000) (i32.const -1)))", "integer overflow"),
        ("(call $exit (i32.load (i32.const 140000)))", "out of bounds memory access"),
        ("(i32.store offset=4294967295 (i32.const -1) (i32.const 0))", "out of bounds memory access"),
        (
            "(call $exit (i32.wrap_i64 (i64.load offset=4294967295 (i32.const -1))))",
            "out of bounds memory access",
        ),
        (
            "(v128.store offset=4294967295 (i32.const -1) (v128.const i64x2 0 0))",
            "out of bounds memory access",
        ),
        ("(memory.fill (i32.const 131000) (i32.const 0) (i32.const 100))", "out of bounds memory access"),
        ("(memory.init $passive (i32.const 0) (i32.const 0) (i32.const 5))", "out of bounds memory access"),
        ("(call_indirect (i32.const 3))", "uninitialized element"),
        ("(call_indirect (i32.const 4))", "undefined element"),
        (
            "(drop (call_indirect (type $binary) (i32.const 1) (i32.const 1) (i32.const 2)))",
            "indirect call type mismatch",
        ),
        ("(drop (i32.trunc_f64_s (f64.const nan)))", "invalid conversion to integer"),
        ("(drop (i64.trunc_f32_u (f32.const 1e30)))", "integer overflow"),
    ] {
        let ended = same(&Guest::new(&start(body)), TRAPPED);
        assert_eq!(ended.stderr, format!("wasm trap: {words}"), "{body}");
    }
}

#[test]
fn a_large_module_is_compiled_in_parts_and_does_the_same() {
    let wasm = wat(&large::module());
    // More than one part's.
    assert!(wasm.len() > 700_000, "{} bytes", wasm.len());
    let guest = Guest::new(&wasm);
    let expected = guest.run_loaded();
    assert!(expected.code > 0 && expected.code < TRAPPED, "{expected:?}");
    if let Some(code) = compile(&wasm, "quick", false) {
        assert_eq!(in_child(|| guest.run_here_from_image_of(&code)), expected);
        assert_eq!(compile(&wasm, "quick", false).unwrap(), code, "the same code each time");
    }
}

#[test]
fn endless_recursion_traps_however_large_the_frames_are() {
    // A compiler makes a loop of what it sees never to return. This returns, after more calls than there is room for.
    let recursion = |locals: &str, before: &str, after: &str| {
        wat(&format!(
            r#"(module (memory (export "memory") 1)
            (func $count (param i32) (result i32)
                (i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1)))
                (i32.load (local.get 0)))
            (func $recurse {locals} {before}
                (if (i32.lt_u (call $count (i32.const 0)) (i32.const 1000000000)) (then (call $recurse)))
                {after} (drop (call $count (i32.const 4))))
            (func (export "_start") (call $recurse)))"#
        ))
    };
    // All of them are kept across the call, each with a value of its own.
    let (mut before, mut after) = (String::new(), String::new());
    for local in 0..1500 {
        let address = 16 * (local + 1);
        before += &format!("(local.set {local} (v128.load (i32.const {address})))");
        after += &format!("(v128.store (i32.const {address}) (local.get {local}))");
    }
    let large = recursion(&"(local v128)".repeat(1500), &before, &after);
    for wasm in [recursion("", "", ""), large] {
        assert_eq!(Guest::new(&wasm).run().code, TRAPPED);
        for (tier, code) in compiled(&wasm).unwrap_or_default() {
            let ended = in_child(|| Guest::new(&wasm).run_here_from_image_of(&code));
            let told = ended.stderr.lines().next();
            assert_eq!((ended.code, told), (TRAPPED, Some("wasm trap: native stack overflow")), "{tier}");
        }
    }
}

#[test]
fn the_memory_cap_is_the_same() {
    let wasm = start(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
         (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1))
         (call $exit (memory.size))",
    );
    for (cap, pages) in [(Some(2), 2), (Some(9), 9), (None, 100), (Some(65536), 100)] {
        same(&Guest { max_memory_pages: cap, ..Guest::new(&wasm) }, pages);
    }
    same(&Guest { max_memory_pages: Some(1), ..Guest::new(&wasm) }, NOT_RUN);
}

#[test]
fn simd_tail_calls_and_bulk_memory_are_the_same() {
    let sum = "(call $exit (i32.add
        (call $down (i32.const 1000000))
        (i32x4.extract_lane 2 (i32x4.mul (v128.const i32x4 1 2 3 4) (i32x4.splat (i32.const 9))))))";
    same(&Guest::new(&start(sum)), 32);
    let bulk = "(memory.init $passive (i32.const 1000) (i32.const 0) (i32.const 4))
        (memory.copy (i32.const 2000) (i32.const 1000) (i32.const 4))
        (call $exit (i32.load (i32.const 2000)))";
    same(&Guest::new(&start(bulk)), 42);
}

#[test]
fn a_missing_import_is_named_the_same() {
    let wasm = wat(
        r#"(module (import "env" "nothing" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    );
    let ended = same(&Guest::new(&wasm), NOT_RUN);
    assert!(ended.stderr.contains("env.nothing"), "{ended:?}");
}

#[test]
fn threads_are_the_same() {
    let wasm = wat(r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
        (import "env" "memory" (memory 1 4 shared))
        (export "memory" (memory 0))
        (func (export "wasi_thread_start") (param i32 i32)
            (drop (i32.atomic.rmw.add (i32.const 0) (local.get 1)))
            (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
        (func (export "_start") (local i32)
            (loop $spawning
                (if (i32.lt_s (call $spawn (i32.const 2)) (i32.const 1)) (then unreachable))
                (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (br_if $spawning (i32.lt_u (local.get 0) (i32.const 8))))
            (loop $waiting
                (local.set 0 (i32.atomic.load (i32.const 0)))
                (if (i32.lt_u (local.get 0) (i32.const 16)) (then
                    (drop (memory.atomic.wait32 (i32.const 0) (local.get 0) (i64.const -1)))
                    (br $waiting))))
            (call $exit (local.get 0))))"#);
    same(&Guest::new(&wasm), 16);
}

#[test]
fn sigterm_ends_compiled_code_in_a_loop_with_143() {
    let wasm = start(
        "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))) (loop $ever (br $ever))",
    );
    for (tier, code) in compiled(&wasm).unwrap_or_default() {
        let child = spawn(|| {
            wamr::signals::exit_on_termination().unwrap();
            Guest::new(&wasm).run_here_from_image_of(&code)
        });
        child.wait_for_output();
        child.kill(libc::SIGTERM);
        assert_eq!(child.wait().code, 143, "{tier}");
    }
}

/// Access to the mappings of this process that can be executed and are an image's.
fn executable_mappings() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.lines().any(|line| line.contains(" rwx") || line.contains(" -wx")), "{maps}");
    let code = maps.lines().filter(|line| line.contains("x") && line.contains("/memfd:"));
    code.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn code_from_an_image_can_be_executed_and_not_written_and_the_process_that_makes_it_executes_none() {
    let wasm = start("");
    for (tier, code) in compiled(&wasm).unwrap_or_default() {
        let ended = in_child(|| {
            with_engine(|engine| {
                let file = Image::empty();
                file.write(&code);
                let built = in_child(|| {
                    let source = ModuleSource::from_file(file.file().try_clone().unwrap()).unwrap();
                    let module = Module::load_aot(engine, source).unwrap();
                    let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
                    let _instance = Instance::new(&module, options).unwrap();
                    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
                    let executable =
                        maps.lines().filter(|line| line.split(' ').nth(1).unwrap().contains('x'));
                    executable.filter(|line| line.split_whitespace().count() == 5).count() as i32
                });
                assert_eq!((built.code, built.stderr.as_str()), (0, ""));
                let image = Image::of(engine, &code).unwrap();
                assert!(executable_mappings().is_empty());
                let _instance = image.map(engine);
                assert_eq!(executable_mappings(), ["r-xp"]);
                0
            })
        });
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{tier}");
    }
}

#[test]
fn code_is_mapped_only_where_images_are_and_only_if_it_was_asked_for() {
    /// Of the words for the code's start and end in an image's head.
    const PLACE: usize = 9 * 8;
    let wasm = start("");
    for (tier, code) in compiled(&wasm).unwrap_or_default() {
        let ended = in_child(|| {
            with_engine(|engine| {
                let image = Image::of(engine, &code).unwrap();
                let unasked = wamr::image::map(engine, image.file(), None);
                assert!(matches!(unasked, Err(wamr::Error::ForeignImage)));
                let good = image.bytes();
                let word = |at: usize| u64::from_ne_bytes(good[at..at + 8].try_into().unwrap());
                let (start, end) = (word(PLACE), word(PLACE + 8));
                let own = run_compiled as *const () as u64 / 4096 * 4096;
                for (start, end) in [
                    (own, own + 4096),
                    (start, u64::MAX / 4096 * 4096),
                    (0, 4096),
                    (end, start),
                    (start + 8, end),
                    (start, end + (16 << 30)),
                ] {
                    let place = [start.to_ne_bytes(), end.to_ne_bytes()].concat();
                    image.write(&[&good[..PLACE], &place].concat());
                    let refused = wamr::image::map_code(engine, image.file());
                    assert!(matches!(refused, Err(wamr::Error::ForeignImage)), "{start:x} to {end:x}");
                }
                image.write(&good);
                Guest::new(&wasm).enter(&mut image.map(engine))
            })
        });
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{tier}");
    }
}

#[test]
fn an_image_holds_code_once() {
    let body = "(drop (call $write (i32.const 7) (i32.const 0) (i32.const 1) (i32.const 64)))".repeat(20_000);
    for (tier, code) in compiled(&start(&body)).unwrap_or_default() {
        let ended = in_child(|| {
            with_engine(|engine| {
                let (image, file) = (Image::of(engine, &code).unwrap().bytes().len(), code.len());
                // Beside the code some 120 KB of WAMR's own.
                assert!(
                    file > 400_000 && image < file * 3 / 2,
                    "an image of {image} bytes from a file of {file}"
                );
                0
            })
        });
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{tier}");
    }
}
