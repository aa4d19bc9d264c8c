;; Two ways in: _start, and the export "other".
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "entered at _start\n")
  (data (i32.const 96) "entered at other\n")
  (func $say (param $at i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $bytes))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start") (call $say (i32.const 64) (i32.const 18)))
  (func (export "other") (call $say (i32.const 96) (i32.const 17))))
