;; Wants a function nobody offers.
(module
  (import "acme" "launch_rocket" (func $launch))
  (memory (export "memory") 1)
  (func (export "_start") (call $launch)))
