;; Spawns threads that wait for ever, ten at most, and ends with the number of those it could have.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "env" "memory" (memory 1 4 shared))
  (export "memory" (memory 0))
  (func (export "wasi_thread_start") (param i32 i32)
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
  (func (export "_start") (local $count i32)
    (block $refused
      (loop $again
        (br_if $refused (i32.lt_s (call $spawn (i32.const 0)) (i32.const 1)))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $count) (i32.const 10)))))
    (call $exit (local.get $count))))
