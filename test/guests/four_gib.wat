;; Declares all the memory 32 bits can address, from the first instruction on.
(module (memory (export "memory") 65536) (func (export "_start")))
