//! What is accepted as a module, and what is said of the rest.

use std::io::Write;

use wamr::{Engine, Error, Instance, InstanceOptions, MemoryLimits, Module, ModuleSource};

use crate::harness::{in_child, load, wat, with_engine};

const OPTIONS: InstanceOptions = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };

fn refused(bytes: &[u8]) -> String {
    let ended = in_child(|| {
        with_engine(|engine| {
            let error = Module::load(engine, ModuleSource::from_bytes(bytes.to_vec())).unwrap_err();
            crate::harness::say(0, &error.to_string())
        })
    });
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    ended.stderr
}

#[test]
fn what_is_no_module_is_refused_in_words() {
    assert_eq!(refused(b""), "the module is empty");
    assert_eq!(refused(b"\0as"), "not a WebAssembly module: it does not begin with \\0asm");
    assert_eq!(refused(b"\x7fELF\x02\x01\x01\0"), "not a WebAssembly module: it does not begin with \\0asm");
    assert_eq!(refused(b"\0asm"), "the module cannot be loaded: unexpected end");
    assert_eq!(refused(b"\0asm\x02\0\0\0"), "the module cannot be loaded: unknown binary version");
    let component = refused(b"\0asm\x0d\0\x01\0");
    assert!(component.contains("component"), "{component}");
}

#[test]
fn native_code_is_refused_unless_it_is_asked_for() {
    let aot = refused(b"\0aot\x05\0\0\0");
    assert!(aot.contains("native code"), "{aot}");
    in_child_ok(|engine| {
        let error =
            Module::load_aot(engine, ModuleSource::from_bytes(b"\0aot\x01\0\0\0".to_vec())).unwrap_err();
        assert!(matches!(error, Error::Load(_)), "{error}");
        let error = Module::load_aot(engine, ModuleSource::from_bytes(wat("(module)"))).unwrap_err();
        assert!(matches!(error, Error::NotAot), "{error}");
    });
}

fn in_child_ok(body: impl FnOnce(&Engine)) {
    let ended = in_child(|| {
        with_engine(body);
        0
    });
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
}

const SMALL: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2 5)
    (table 2 funcref) (elem (i32.const 0) $grow $start)
    (data (i32.const 8) "some data")
    (func $grow (export "grow") (drop (memory.grow (i32.const 1))))
    (func $start (export "_start") (call $grow) (call $exit (i32.const 3))))"#;

#[test]
fn no_truncated_module_crashes_the_loader() {
    let whole = wat(SMALL);
    in_child_ok(|engine| {
        for length in 0..whole.len() {
            // A cut between sections leaves a valid module, and one in the name section an ignored one.
            let _ = Module::load(engine, ModuleSource::from_bytes(whole[..length].to_vec()));
        }
        load(engine, &whole);
    });
}

#[test]
fn no_module_with_one_wrong_byte_crashes_the_loader() {
    let whole = wat(SMALL);
    in_child_ok(|engine| {
        for at in 0..whole.len() {
            for flip in 1..=255 {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                if let Ok(module) = Module::load(engine, ModuleSource::from_bytes(broken)) {
                    let _ = Instance::new(&module, OPTIONS);
                }
            }
        }
    });
}

#[test]
fn a_module_is_mapped_from_a_file_that_stays_as_it_is() {
    let mut file = tempfile();
    let bytes = wat(SMALL);
    file.write_all(&bytes).unwrap();
    in_child_ok(|engine| {
        let module =
            Module::load(engine, ModuleSource::from_file(file.try_clone().unwrap()).unwrap()).unwrap();
        assert_eq!(module.exported_functions(), ["grow", "_start"]);
        let instance = Instance::new(&module, OPTIONS).unwrap();
        assert_eq!(instance.memory_pages(), 2);
    });
    use std::os::unix::fs::FileExt;
    let mut now = vec![0; bytes.len()];
    file.read_exact_at(&mut now, 0).unwrap();
    assert_eq!(now, bytes);
}

fn tempfile() -> std::fs::File {
    let dir = crate::harness::TempDir::new();
    let path = dir.path().join("module.wasm");
    std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
fn an_empty_file_is_refused_in_words() {
    assert!(matches!(ModuleSource::from_file(tempfile()), Err(Error::Empty)));
}

#[test]
fn memory_limits_are_those_of_the_module() {
    let limits = |text: &str| {
        let wasm = wat(text);
        move |engine: &Engine| load(engine, &wasm).memory()
    };
    let grows = limits("(module (memory 2 5) (func (drop (memory.grow (i32.const 1)))))");
    let cannot_grow = limits("(module (memory 3))");
    let unlimited = limits("(module (memory 1) (func (drop (memory.grow (i32.const 1)))))");
    let none = limits("(module)");
    in_child_ok(|engine| {
        let pages = |initial_pages, max_pages| Some(MemoryLimits { initial_pages, max_pages, shared: false });
        assert_eq!(grows(engine), pages(2, 5));
        assert_eq!(cannot_grow(engine), pages(3, 3));
        assert_eq!(unlimited(engine), pages(1, 65536));
        assert_eq!(none(engine), None);
    });
}

#[test]
fn an_unknown_import_is_named_before_the_guest_runs() {
    let wasm = wat(r#"(module
        (import "env" "missing" (func))
        (import "wasi_snapshot_preview1" "no_such_call" (func))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
        (import "other" "global" (global i32))
        (import "env" "table" (table 1 funcref))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")))"#);
    in_child_ok(|engine| {
        let module = load(engine, &wasm);
        let error = Instance::new(&module, OPTIONS).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the module imports what this runtime does not provide: env.missing, \
             wasi_snapshot_preview1.no_such_call, wasi_snapshot_preview1.proc_exit, env.table, other.global"
        );
    });
}

#[test]
fn the_engine_is_initialised_once() {
    in_child_ok(|_engine| {
        assert!(matches!(Engine::init(), Err(Error::AlreadyInitialised)));
        assert!(Engine::version().starts_with("2."));
    });
}
