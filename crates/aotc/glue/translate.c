/* WAMR compiles all functions of a module or none. What it has for one is internal to this file of its own. */
#include "aot_compiler.c"

#include "glue.h"

bool
aotc_translate(AOTCompContext *context, uint32_t from, uint32_t to)
{
    if (!aot_validate_wasm(context))
        return false;
    for (uint32_t i = 0; i < context->func_ctx_count; i++) {
        if (from <= i && i < to) {
            if (!aot_compile_func(context, i))
                return false;
        }
        else {
            aotc_drop_body(context->func_ctxes[i]->func);
        }
    }
    return verify_module(context);
}
