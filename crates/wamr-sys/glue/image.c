/* What an image of an instance is made of, besides the range of window.c: see crates/wamr/src/image. */

#include "glue.h"

#include "aot_runtime.h"
#include "wasm_runtime.h"

/*
 * All variables of this library, WAMR's and the glue's: build.rs puts them into sections of their own, whose
 * bounds the linker names.
 */
extern char __start_wamr_data[], __stop_wamr_data[], __start_wamr_bss[], __stop_wamr_bss[];

void
glue_variables(glue_range ranges[2])
{
    ranges[0] = (glue_range){ __start_wamr_data, __stop_wamr_data };
    ranges[1] = (glue_range){ __start_wamr_bss, __stop_wamr_bss };
}

glue_range
glue_spent_code(wasm_module_t module)
{
    glue_range range = { NULL, NULL };
    WASMModule *wasm = (WASMModule *)module;

    if (module->module_type != Wasm_Module_Bytecode)
        return range;
    for (uint32 i = 0; i < wasm->function_count; i++) {
        char *start = (char *)wasm->functions[i]->code;
        char *end = start + wasm->functions[i]->code_size;
        if (!range.start || start < range.start)
            range.start = start;
        if (end > range.end)
            range.end = end;
    }
    return range;
}
