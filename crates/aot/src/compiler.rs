//! Which compiler code is of.

/// A digest of the compiler's own sources: of every option it passes to WAMR and to LLVM, of what it does with their code, and
/// of the version of LLVM that it is built with. Nobody has to remember to change it.
pub const COMPILER: &str = env!("AOTC_FINGERPRINT");

/// The build of the compiler, as `wamr-aotc --identity` prints it; `runtime` names the build of WAMR. Compiler and shim agree
/// on it, or the compiler is not used.
#[must_use]
pub fn identity(runtime: &str) -> String {
    format!("{runtime} compiler {COMPILER}")
}

#[cfg(test)]
#[path = "../build/fingerprint.rs"]
mod fingerprint;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Tree {
            let path = std::env::temp_dir().join(format!("aot-fingerprint-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("glue/deep")).unwrap();
            let tree = Tree(path);
            tree.write("glue/aotc.c", "option.size_level = 3;\n");
            tree.write("glue/deep/llvm.cpp", "");
            tree.write("build.rs", "19.1.7");
            tree.write("tests.rs", "");
            tree
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }

        fn digest(&self) -> String {
            fingerprint::of(&self.0, &["glue", "build.rs"]).digest
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn any_change_of_the_compilers_sources_is_another_compiler() {
        let tree = Tree::new();
        let mut seen = vec![tree.digest()];
        tree.write("tests.rs", "not asked for");
        assert_eq!(seen[0], tree.digest(), "it depends on what it is of, and on nothing else");
        let changes: [(&str, &dyn Fn()); 5] = [
            ("an option", &|| tree.write("glue/aotc.c", "option.size_level = 2;\n")),
            ("LLVM", &|| tree.write("build.rs", "19.1.8")),
            ("a new file", &|| tree.write("glue/passes.cpp", "")),
            ("bytes that move to the next file", &|| {
                tree.write("glue/aotc.c", "");
                tree.write("glue/deep/llvm.cpp", "option.size_level = 2;\n");
            }),
            ("a name", &|| {
                fs::rename(tree.0.join("glue/passes.cpp"), tree.0.join("glue/pass.cpp")).unwrap();
            }),
        ];
        for (what, change) in changes {
            change();
            let digest = tree.digest();
            assert!(!seen.contains(&digest), "{what}");
            seen.push(digest);
        }
    }

    #[test]
    fn the_identity_is_of_the_compiler_in_this_checkout() {
        let compiler = fingerprint::of_the_compiler();
        assert_eq!(COMPILER, compiler.digest, "the build script runs when a source changes");
        assert!(compiler.paths.iter().all(|path| path.exists()), "{:?}", compiler.paths);
        assert_eq!(identity("2.4.3 format 5"), format!("2.4.3 format 5 compiler {}", compiler.digest));
    }
}
