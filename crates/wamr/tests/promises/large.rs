//! A module so large that the compiler does it in parts. Also used by the end-to-end tests.

use std::fmt::Write;

const FUNCTIONS: u32 = 640;

/// Its text. Each function has constants and a table of jumps, and calls one in another part; `_start` calls all of them
/// by a table of functions, and exits with a digest of what they return.
pub fn module() -> String {
    let mut text = String::from(
        r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (type $step (func (param f64 i32) (result f64)))"#,
    );
    let labels: String = (0..8).map(|case| format!(" $case{case}")).collect();
    for function in 0..FUNCTIONS {
        // Writing to a string cannot fail; likewise below.
        let _ = write!(text, "(func $f{function} (param $x f64) (param $n i32) (result f64)");
        for line in 0..50 {
            let _ = write!(
                text,
                "(local.set $x (f64.add (f64.mul (local.get $x) (f64.const 0.{line}{function})) (f64.const {line}.{function})))"
            );
        }
        text += "(block $case7 ";
        (0..7).rev().for_each(|case| text += &format!("(block $case{case} "));
        let _ = write!(text, "(br_table{labels} (i32.rem_u (local.get $n) (i32.const 9))))");
        for case in 0..7 {
            let _ = write!(text, "(local.set $x (f64.sub (local.get $x) (f64.const {case}.{function})))");
            if case < 6 {
                text += "(br $case7))";
            }
        }
        text += ")";
        let called = (function * 7 + FUNCTIONS / 2) % FUNCTIONS;
        let _ = write!(
            text,
            "(if (result f64) (i32.eqz (local.get $n)) (then (local.get $x))
            (else (call $f{called} (local.get $x) (i32.sub (local.get $n) (i32.const 1))))))"
        );
    }
    let names: String = (0..FUNCTIONS).map(|function| format!(" $f{function}")).collect();
    let _ = write!(
        text,
        r#"(table {FUNCTIONS} {FUNCTIONS} funcref) (elem (i32.const 0){names})
        (func (export "_start") (local $i i32) (local $sum i64)
            (loop $next
                (local.set $sum (i64.add (i64.rotl (local.get $sum) (i64.const 5)) (i64.reinterpret_f64
                    (call_indirect (type $step) (f64.const 1) (i32.and (local.get $i) (i32.const 15)) (local.get $i)))))
                (br_if $next (i32.lt_u
                    (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {FUNCTIONS}))))
            (local.set $sum (i64.xor (local.get $sum) (i64.shr_u (local.get $sum) (i64.const 32))))
            (call $exit (i32.and (i32.wrap_i64 (local.get $sum)) (i32.const 127)))))"#
    );
    text
}
