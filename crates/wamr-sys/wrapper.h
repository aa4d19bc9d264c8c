/* What the Rust side sees. */
#include "wasm_export.h"
#include "glue.h"
