//! Tells the linker where code lies in the executable: `layout.ld`.

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/layout.ld", env!("CARGO_MANIFEST_DIR"));
}
