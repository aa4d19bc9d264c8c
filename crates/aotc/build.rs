//! Builds WAMR's compiler with the source that `wamr-sys` has prepared, and finds LLVM's static libraries.

// A build script reports by panicking.
#![allow(clippy::expect_used, clippy::panic)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "llvm")]
    compiler::build();
}

#[cfg(feature = "llvm")]
mod compiler {
    use std::env;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// The very version: it is part of the code's key, by the fingerprint of this file in the crate `aot`.
    const LLVM: &str = "19.1.7";

    /// The parts of LLVM that WAMR's compiler uses, in the words of llvm-config.
    const COMPONENTS: [&str; 4] = ["core", "passes", "orcjit", "native"];

    pub fn build() {
        for path in ["glue", "cmake"] {
            println!("cargo::rerun-if-changed={path}");
        }
        println!("cargo::rerun-if-env-changed=LLVM_CONFIG");
        let llvm_config = env::var("LLVM_CONFIG").unwrap_or_else(|_| "llvm-config-19".into());
        let version = ask(&llvm_config, &["--version"]);
        assert!(
            version == LLVM,
            "WAMR's compiler is built with LLVM {LLVM}, and this is {version}. With another 19.1, change LLVM in \
             crates/aotc/build.rs before shim and compiler are built: code by one is not used by the other"
        );

        let source = env::var("DEP_WAMR_SOURCE").expect("wamr-sys says where it has put WAMR's source");
        let identity = env::var("DEP_WAMR_IDENTITY").expect("wamr-sys says which WAMR it is");
        println!("cargo::rustc-env=WAMR_IDENTITY={identity}");
        let target = match env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default().as_str() {
            "x86_64" => "X86_64",
            "aarch64" => "AARCH64",
            other => panic!("there is no AOT compiler for {other}"),
        };
        let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        let built = cmake::Config::new(Path::new(&here).join("cmake"))
            .profile("Release")
            .define("WAMR_SOURCE", source)
            .define("WAMR_BUILD_TARGET", target)
            .define("LLVM_DIR", ask(&llvm_config, &["--cmakedir"]))
            .build_target("aotc")
            .build();

        println!("cargo::rustc-link-search=native={}/build", built.display());
        println!("cargo::rustc-link-lib=static=aotc");
        println!("cargo::rustc-link-search=native={}", ask(&llvm_config, &["--libdir"]));
        let mut libraries = vec!["--link-static", "--libnames"];
        libraries.extend(COMPONENTS);
        for library in ask(&llvm_config, &libraries).split_whitespace() {
            let name = library.strip_prefix("lib").and_then(|name| name.strip_suffix(".a"));
            let name = name.unwrap_or_else(|| panic!("llvm-config names {library}, no static library"));
            // Not bundled: cargo would copy a gigabyte.
            println!("cargo::rustc-link-lib=static:-bundle={name}");
        }
        println!("cargo::rustc-link-search=native={}", static_cxx_library().display());
        for library in ["static:-bundle=stdc++", "static:-bundle=zstd", "static:-bundle=z", "m"] {
            println!("cargo::rustc-link-lib={library}");
        }
    }

    fn static_cxx_library() -> PathBuf {
        let file = ask("g++", &["-print-file-name=libstdc++.a"]);
        Path::new(&file).parent().map(Path::to_owned).unwrap_or_else(|| panic!("g++ has no libstdc++.a"))
    }

    fn ask(program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| {
            panic!("{program} does not run ({e}). On Debian: deploy/aotc-packages.sh installs what is needed")
        });
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {}: {words}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
