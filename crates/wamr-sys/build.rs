//! Builds WAMR with this project's settings and writes the bindings.
//!
//! The C source is that of the locked package `wamrx-sys`, or the tree in `WAMR_SOURCE_DIR`. It is copied
//! to `OUT_DIR` first, because WAMR's build writes a version header into its own source.

// A build script reports by panicking.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is built in, in the words of WAMR's CMake files. Everything that has a default is said: a new
/// WAMR must not change the guest's world by changing a default.
const SETTINGS: &[(&str, &str)] = &[
    ("BUILD_INTERP", "1"),
    ("BUILD_FAST_INTERP", "1"),
    ("BUILD_AOT", "1"),
    ("BUILD_JIT", "0"),
    ("BUILD_FAST_JIT", "0"),
    ("BUILD_LIBC_BUILTIN", "0"),
    ("BUILD_LIBC_WASI", "1"),
    ("BUILD_LIB_WASI_THREADS", "1"),
    ("BUILD_THREAD_MGR", "1"),
    ("BUILD_SHARED_MEMORY", "1"),
    ("BUILD_SIMD", "1"),
    ("BUILD_BULK_MEMORY", "1"),
    ("BUILD_REF_TYPES", "1"),
    ("BUILD_TAIL_CALL", "1"),
    ("BUILD_EXTENDED_CONST_EXPR", "1"),
    ("BUILD_MULTI_MODULE", "0"),
    ("BUILD_MINI_LOADER", "0"),
    // Function names in the call stack of a trap.
    ("BUILD_DUMP_CALL_STACK", "1"),
    ("BUILD_CUSTOM_NAME_SECTION", "1"),
    // Cuts memory at `__heap_base` when the module never grows it. A page nobody touches costs nothing
    // here, and a valid access above `__heap_base` would trap.
    ("BUILD_SHRUNK_MEMORY", "0"),
    // An access out of bounds meets a guard page and a signal handler instead of a comparison.
    ("DISABLE_HW_BOUND_CHECK", "0"),
    // Compiled code may address memory by the GS register. Said, else CMake runs a program on the build host to find
    // out; a patch asks the target instead.
    ("DISABLE_WRITE_GS_BASE", "0"),
];

/// Defects of the pinned WAMR that no setting avoids, as (file, what it says, what it shall say, why).
const PATCHES: &[(&str, &str, &str, &str)] = &[
    (
        "core/iwasm/interpreter/wasm_loader.c",
        "if (is_expr_binary_op(ctx->stack[j].expr->init_expr_type)) {",
        "if (ctx->stack[j].expr) {",
        "a malformed constant expression, such as `i32.const 0` and an unknown opcode, crashes the loader",
    ),
    (
        "core/iwasm/libraries/libc-wasi/sandboxed-system-primitives/src/posix.c",
        "if (in[i].u.type == __WASI_EVENTTYPE_FD_READ) {",
        "if (in[i].u.type == __WASI_EVENTTYPE_FD_READ && pfds[i].revents) {",
        "poll_oneoff makes one more system call for every descriptor of which there is nothing to tell",
    ),
    (
        "core/shared/platform/linux/platform_internal.h",
        r#"asm volatile("wrgsbase %0" ::"r"(__gs_value) : "memory"); \"#,
        r#"extern bool glue_gs_base_is_writable;                      \
        if (glue_gs_base_is_writable)                              \
            asm volatile("wrgsbase %0" ::"r"(__gs_value) : "memory"); \"#,
        "the instruction is used on processors and kernels that do not have it",
    ),
];

fn main() {
    for path in ["build.rs", "wrapper.h", "glue", "cmake"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["WAMR_SOURCE_DIR", "WAMR_SIMDE_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = path_from_env("OUT_DIR");
    let here = path_from_env("CARGO_MANIFEST_DIR");

    let source = out.join("wasm-micro-runtime");
    if source.exists() {
        fs::remove_dir_all(&source).expect("empty OUT_DIR");
    }
    copy_tree(&source_of_wamr(), &source);

    patch(&source);
    let identity = identity(&source);
    println!("cargo::metadata=source={}", source.display());
    println!("cargo::metadata=identity={identity}");
    println!("cargo::rustc-env=WAMR_IDENTITY={identity}");

    build(&here, &source, &simde(&out));
    bind(&here, &source, &out.join("bindings.rs"));
}

fn path_from_env(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set {name}")).into()
}

fn source_of_wamr() -> PathBuf {
    if let Some(given) = env::var_os("WAMR_SOURCE_DIR") {
        let given = PathBuf::from(given);
        assert!(
            given.join("core/iwasm/include/wasm_export.h").exists(),
            "WAMR_SOURCE_DIR={} is not a WAMR source tree: it has no core/iwasm/include/wasm_export.h",
            given.display()
        );
        println!("cargo::rerun-if-changed={}", given.display());
        return given;
    }
    let manifest = locked_package("wamrx-sys");
    manifest.parent().expect("a manifest lies in a directory").join("wasm-micro-runtime")
}

/// The manifest of a package that Cargo.lock names. `cargo metadata` fetches it if need be, and needs no
/// network once `cargo fetch` has run.
fn locked_package(name: &str) -> PathBuf {
    let answer = Command::new(path_from_env("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--manifest-path"])
        .arg(path_from_env("CARGO_MANIFEST_DIR").join("Cargo.toml"))
        .output()
        .expect("run cargo metadata");
    assert!(
        answer.status.success(),
        "cargo metadata could not locate WAMR's source (package {name}); without a network run \
         `cargo fetch --locked` beforehand, or set WAMR_SOURCE_DIR:\n{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&answer.stdout).expect("cargo metadata prints JSON");
    metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == name))
        .and_then(|package| package["manifest_path"].as_str())
        .unwrap_or_else(|| panic!("Cargo.lock does not name {name}"))
        .into()
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|e| panic!("create {}: {e}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("read {}: {e}", from.display())) {
        let entry = entry.expect("read directory entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            // By content: a registry's files may be read-only, and so would be the copies.
            let bytes =
                fs::read(entry.path()).unwrap_or_else(|e| panic!("read {}: {e}", entry.path().display()));
            fs::write(&target, bytes).unwrap_or_else(|e| panic!("write {}: {e}", target.display()));
        }
    }
}

fn patch(source: &Path) {
    for (file, old, new, why) in PATCHES {
        let path = source.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        if text.contains(old) {
            fs::write(&path, text.replace(old, new))
                .unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        } else if env::var_os("WAMR_SOURCE_DIR").is_some() {
            // Another WAMR may have it fixed in another way.
            println!("cargo::warning=WAMR_SOURCE_DIR: check {file}, a patch does not apply ({why})");
        } else {
            panic!("a patch of {file} no longer applies; remove it if WAMR has fixed that {why}");
        }
    }
}

/// Version, AOT format, and a digest of the patched source and the settings. Compiled code knows the layout of this very
/// runtime's structures, which a version number does not pin down.
fn identity(source: &Path) -> String {
    let number = |file: &str, name: &str| {
        let path = source.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("#define {name} ")));
        line.map(|value| value.trim().to_owned()).unwrap_or_else(|| panic!("{file} has no {name}"))
    };
    let version =
        ["MAJOR", "MINOR", "PATCH"].map(|part| number("core/version.h", &format!("WAMR_VERSION_{part}")));
    let mut files = Vec::new();
    list_files(&source.join("core"), &mut files);
    files.sort();
    let mut hasher = DefaultHasher::new();
    SETTINGS.hash(&mut hasher);
    for file in files {
        file.strip_prefix(source).expect("listed below it").hash(&mut hasher);
        fs::read(&file).unwrap_or_else(|e| panic!("read {}: {e}", file.display())).hash(&mut hasher);
    }
    format!(
        "{} format {} build {:016x}",
        version.join("."),
        number("core/config.h", "AOT_CURRENT_VERSION"),
        hasher.finish()
    )
}

fn list_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("read {}: {e}", directory.display())) {
        let path = entry.expect("read directory entry").path();
        if path.is_dir() {
            list_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The directory that holds `simde/`, and nothing else the C compiler would stumble over. Without it
/// WAMR's build clones simde from the net.
fn simde(out: &Path) -> PathBuf {
    let installed =
        env::var_os("WAMR_SIMDE_DIR").map_or_else(|| PathBuf::from("/usr/include"), PathBuf::from);
    let headers = installed.join("simde");
    assert!(
        headers.join("wasm/simd128.h").exists(),
        "WAMR's SIMD needs the SIMDe headers, and {} has no simde/wasm/simd128.h. On Debian: \
         apt-get install libsimde-dev; elsewhere set WAMR_SIMDE_DIR to the directory that holds simde/",
        installed.display()
    );
    let alone = out.join("simde-alone");
    let _ = fs::remove_dir_all(&alone);
    fs::create_dir_all(&alone).expect("create a directory in OUT_DIR");
    std::os::unix::fs::symlink(&headers, alone.join("simde")).expect("link simde into OUT_DIR");
    alone
}

fn build(here: &Path, source: &Path, simde: &Path) {
    let installed =
        Command::new(env::var("CMAKE").unwrap_or_else(|_| "cmake".into())).arg("--version").output();
    assert!(
        installed.is_ok_and(|o| o.status.success()),
        "WAMR is built with CMake, and cmake does not run. On Debian: apt-get install cmake make gcc"
    );
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let target = match architecture.as_str() {
        "x86_64" => "X86_64",
        "aarch64" => "AARCH64",
        other => panic!("WAMR's hardware bound checks need x86_64 or aarch64, not {other}"),
    };
    let mut cmake = cmake::Config::new(source);
    // An interpreter without optimisation is of no use, whatever the profile of the Rust code.
    // Variables stay in the few sections that `gather_variables` renames.
    cmake
        .profile("Release")
        .build_target("vmlib")
        .define("CMAKE_C_FLAGS_RELEASE", "-O3 -DNDEBUG -fno-data-sections");
    cmake.define("WAMR_BUILD_PLATFORM", "linux").define("WAMR_BUILD_TARGET", target);
    for (name, value) in SETTINGS {
        cmake.define(format!("WAMR_{name}"), value);
    }
    cmake.define("FETCHCONTENT_SOURCE_DIR_SIMDE", simde).define("FETCHCONTENT_FULLY_DISCONNECTED", "ON");
    // Adds glue/*.c to the library, so that they see WAMR's internal headers with its own settings.
    cmake.define("SHARED_PLATFORM_CONFIG", here.join("cmake/platform.cmake"));
    let built = cmake.build();
    let library = built.join("build/libiwasm.a");
    gather_variables(&library);

    println!("cargo::rustc-link-search=native={}/build", built.display());
    println!("cargo::rustc-link-lib=static=iwasm");
    println!("cargo::rustc-link-lib=m");
}

/// Puts all variables of the library into two sections whose bounds the linker names, so that they can be saved
/// and restored: see glue/image.c.
fn gather_variables(library: &Path) {
    let tool = env::var("OBJCOPY").unwrap_or_else(|_| "objcopy".into());
    let sections = [
        (".data", "wamr_data"),
        (".data.rel", "wamr_data"),
        (".data.rel.local", "wamr_data"),
        (".bss", "wamr_bss"),
    ];
    let renames =
        sections.iter().flat_map(|(from, to)| ["--rename-section".to_owned(), format!("{from}={to}")]);
    let done = Command::new(&tool).args(renames).arg(library).status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "{tool} of the binutils cannot rename sections of {}. On Debian: apt-get install binutils; to build for \
         another architecture set OBJCOPY",
        library.display()
    );
}

fn bind(here: &Path, source: &Path, to: &Path) {
    let generate = || {
        bindgen::Builder::default()
            .header(here.join("wrapper.h").display().to_string())
            .clang_arg(format!("-I{}", source.join("core/iwasm/include").display()))
            .clang_arg(format!("-I{}", here.join("glue").display()))
            .allowlist_function("glue_.*")
            .blocklist_function("glue_wasi_register")
            .allowlist_function(
                "wasm_runtime_(load|unload|deinstantiate|get_version|lookup_function|call_wasm)",
            )
            .allowlist_function("wasm_runtime_get_(import|export)_(count|type)")
            .allowlist_function("wasm_runtime_(get|set|clear)_exception")
            .allowlist_function("wasm_func_get_(param_count|result_count|result_types)")
            .allowlist_type("wasm_(import_export_kind_t|valkind_enum)")
            .blocklist_type("wasm_val_.*")
            .layout_tests(false)
            .merge_extern_blocks(true)
            .generate()
    };
    // bindgen panics in its own words when it finds no libclang.
    let bindings = std::panic::catch_unwind(generate).ok().and_then(Result::ok).expect(
        "bindgen could not read WAMR's headers; it needs libclang. On Debian: apt-get install libclang-dev",
    );
    bindings.write_to_file(to).expect("write bindings");
}
