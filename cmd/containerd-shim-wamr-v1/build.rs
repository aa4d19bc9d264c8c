//! Tells the linker where code lies in the executable: `layout.ld`.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // The whole path: build results may be those of a checkout that is gone.
    println!("cargo::rerun-if-changed={here}/layout.ld");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{here}/layout.ld");
}
