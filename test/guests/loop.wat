;; Never ends at _start; says so and ends at "other".
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\40\00\00\00\11\00\00\00")
  (data (i32.const 64) "entered at other\n")
  (func (export "_start") (loop $again (br $again)))
  (func (export "other") (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))
