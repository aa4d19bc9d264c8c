//! Images of instances. That a guest does the same from an image as when it is loaded, every other test of this
//! crate checks too: `Guest::run` runs it both ways.

use wamr::{Error, Instance, InstanceOptions, Module, ModuleSource};

use crate::harness::{Guest, Image, in_child, load, wat, with_engine};

/// Ends with what it finds in its memory, its global and its table's size, which it has changed then: 7 the first time.
const ONCE: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2 10)
    (global $g (mut i32) (i32.const 4))
    (table $t 1 funcref)
    (data (i32.const 70000) "\02")
    (func (export "_start") (local $found i32)
        (local.set $found (i32.add (i32.load8_u (i32.const 70000)) (global.get $g)))
        (local.set $found (i32.add (local.get $found) (table.size $t)))
        (i32.store8 (i32.const 70000) (i32.const 50))
        (global.set $g (i32.const 60))
        (drop (table.grow $t (ref.null func) (i32.const 1)))
        (drop (memory.grow (i32.const 1)))
        (i32.store (i32.const 140000) (i32.const 1))
        (call $exit (local.get $found))))"#;

#[test]
fn what_one_child_of_an_image_does_no_other_sees() {
    let wasm = wat(ONCE);
    let ended = in_child(|| {
        with_engine(|engine| {
            let image = Image::of(engine, &wasm).unwrap();
            let before = image.bytes();
            for _ in 0..3 {
                let ended = in_child(|| Guest::new(&wasm).enter(&mut image.map(engine)));
                assert_eq!(ended.code, 7, "{ended:?}");
            }
            assert!(before == image.bytes(), "the file has changed");
            0
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn an_instance_from_an_image_keeps_its_limits() {
    let wasm = wat(ONCE);
    let ended = in_child(|| {
        with_engine(|engine| {
            let image = Image::of(engine, &wasm).unwrap();
            let mut instance = image.map(engine);
            assert_eq!(instance.memory_pages(), 2);
            assert!(matches!(
                instance.set_max_memory_pages(1),
                Err(Error::MemoryLimit { limit: 1, present: 2 })
            ));
            assert_eq!(instance.memory_cap().unwrap().most_pages, 10);
            0
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn an_image_is_refused_by_another_zygote() {
    let wasm = wat(ONCE);
    let image = Image::empty();
    let made = in_child(|| with_engine(|engine| image.fill(engine, &wasm).map_or(1, |()| 0)));
    assert_eq!(made.code, 0, "{}", made.stderr);
    let mapped = in_child(|| {
        with_engine(|engine| i32::from(!matches!(image.try_map(engine), Err(Error::ForeignImage))))
    });
    assert_eq!(mapped.code, 0, "{}", mapped.stderr);
}

#[test]
fn what_is_no_image_is_refused() {
    for bytes in [&[][..], &[0; 8], &[0; 4096], &[0xff; 8192], b"wamrimg1"] {
        let image = Image::empty();
        image.write(bytes);
        let mapped = in_child(|| with_engine(|engine| i32::from(image.try_map(engine).is_ok())));
        assert_eq!((mapped.code, mapped.stderr.as_str()), (0, ""));
    }
}

#[test]
fn a_module_whose_bytes_an_image_does_not_cover_makes_none() {
    let wasm = wat(ONCE);
    let image = Image::empty();
    let ended = in_child(|| {
        with_engine(|engine| {
            let module = load(engine, &wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
            let instance = Instance::new(&module, options).unwrap();
            i32::from(!matches!(image.write_instance(engine, &instance), Err(Error::NoImage)))
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn an_image_holds_no_zeros_and_no_function_bodies() {
    let body = "(drop (i32.const 123456789))".repeat(40_000);
    let wasm = wat(&format!(
        r#"(module (memory (export "memory") 1000) (data (i32.const 60000000) "x")
            (func (export "_start")) (func {body}))"#
    ));
    assert!(wasm.len() > 240_000, "{} bytes", wasm.len());
    let ended = in_child(|| {
        with_engine(|engine| {
            let image = Image::of(engine, &wasm).unwrap();
            let bytes = image.bytes();
            let constant = 123_456_789u32.to_le_bytes();
            let found = bytes.windows(4).filter(|window| *window == constant).count();
            assert!(found < 10, "{found} times");
            // 62 MiB of memory, of which one page is used.
            assert!(bytes.len() < 200_000, "{} bytes", bytes.len());
            Guest::new(&wasm).enter(&mut image.map(engine))
        })
    });
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn a_module_with_several_thousand_functions_comes_back_whole() {
    let functions: String = (0..3000)
        .map(|i| {
            format!("(func $f{i} (param i32) (result i32) (i32.add (local.get 0) (i32.const {})))", i % 7)
        })
        .collect();
    let calls: String = (0..3000).map(|i| format!("(local.set $n (call $f{i} (local.get $n)))")).collect();
    let wasm = wat(&format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1) {functions}
            (func (export "_start") (local $n i32) {calls} (call $exit (i32.rem_u (local.get $n) (i32.const 251)))))"#
    ));
    let sum: u32 = (0..3000).map(|i| i % 7).sum();
    assert_eq!(Guest::new(&wasm).run().code, (sum % 251) as i32);
}

#[test]
fn a_file_mapped_by_the_loader_may_change_once_the_image_is_made() {
    let wasm = wat(ONCE);
    let ended = in_child(|| {
        with_engine(|engine| {
            let bytes = Image::empty();
            bytes.write(&wasm);
            let image = Image::empty();
            let built = in_child(|| {
                let source = ModuleSource::from_file(bytes.file().try_clone().unwrap()).unwrap();
                let module = Module::load(engine, source).unwrap();
                let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
                image.write_instance(engine, &Instance::new(&module, options).unwrap()).map_or(1, |_| 0)
            });
            assert_eq!(built.code, 0, "{}", built.stderr);
            bytes.write(&vec![0xff; wasm.len()]);
            Guest::new(&wasm).enter(&mut image.map(engine))
        })
    });
    assert_eq!(ended.code, 7, "{}", ended.stderr);
}
