#include "aotc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "aot.h"
#include "aot_compiler.h"
#include "aot_emit_aot_file.h"
#include "aot_llvm.h"
#include "wasm.h"
#include "wasm_export.h"

/* Takes the place of vprintf in WAMR's platform layer. */
int
aotc_discard(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
    return 0;
}

bool
aotc_init(void)
{
    RuntimeInitArgs args = { .mem_alloc_type = Alloc_With_System_Allocator };

    return wasm_runtime_full_init(&args) && aot_compiler_init();
}

/* Whether its threads share a memory. Only then must loops look for an order to end. */
static bool
has_threads(const WASMModule *module)
{
    for (uint32_t i = 0; i < module->import_memory_count; i++) {
        if (module->import_memories[i].u.memory.mem_type.flags & SHARED_MEMORY_FLAG)
            return true;
    }
    for (uint32_t i = 0; i < module->memory_count; i++) {
        if (module->memories[i].flags & SHARED_MEMORY_FLAG)
            return true;
    }
    return false;
}

/* A frame may be larger than the guard pages below the stack: have each of its pages touched in turn, so that none is
 * jumped over. */
static void
probe_stacks(const AOTCompContext *context)
{
    LLVMValueRef function = LLVMGetFirstFunction(context->module);

    for (; function; function = LLVMGetNextFunction(function)) {
        if (!LLVMGetIntrinsicID(function))
            LLVMAddTargetDependentFunctionAttr(function, "probe-stack", "inline-asm");
    }
}

static void
say(char *error, uint32_t error_size, const char *what)
{
    const char *why = aot_get_last_error();

    snprintf(error, error_size, "%s: %s", what, why && *why ? why : "no reason given");
}

/* WAMR marks calls that wasm has in tail position, and no others. */
static bool
has_tail_calls(const AOTCompContext *context)
{
    LLVMValueRef function = LLVMGetFirstFunction(context->module);

    for (; function; function = LLVMGetNextFunction(function)) {
        LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(function);
        for (; block; block = LLVMGetNextBasicBlock(block)) {
            LLVMValueRef instruction = LLVMGetFirstInstruction(block);
            for (; instruction; instruction = LLVMGetNextInstruction(instruction)) {
                if (LLVMIsACallInst(instruction) && LLVMIsTailCall(instruction))
                    return true;
            }
        }
    }
    return false;
}

aotc_outcome
aotc_compile(uint8_t *wasm, uint32_t wasm_size, const aotc_options *options, uint8_t **aot, uint32_t *aot_size,
             char *error, uint32_t error_size)
{
    AOTCompOption option = { 0 };
    AOTCompData *data = NULL;
    AOTCompContext *context = NULL;
    wasm_module_t module = wasm_runtime_load(wasm, wasm_size, error, error_size);

    aotc_outcome outcome = AOTC_REFUSED;

    *aot = NULL;
    if (!module)
        return AOTC_REFUSED;

    option.opt_level = options->level;
    /* Code anywhere in the address space, without a table of jumps in reach. */
    option.size_level = 0;
    option.output_format = AOT_FORMAT_FILE;
    /* Accesses out of bounds meet guard pages. */
    option.bounds_checks = 0;
    option.stack_bounds_checks = 0;
    option.enable_simd = true;
    option.enable_bulk_memory = true;
    option.enable_bulk_memory_opt = true;
    option.enable_ref_types = true;
    option.enable_call_indirect_overlong = true;
    option.enable_tail_call = true;
    option.enable_extended_const = true;
    option.enable_aux_stack_check = true;
    option.enable_thread_mgr = has_threads((WASMModule *)module);
    option.aux_stack_frame_type = AOT_STACK_FRAME_OFF;
    option.llvm_passes = options->passes;
    if (options->segue)
        option.segue_flags = 0x1F1F;

    data = aot_create_comp_data((WASMModule *)module, NULL, false);
    if (!data) {
        say(error, error_size, "read the module");
        goto done;
    }
    context = aot_create_comp_context(data, &option);
    if (!context) {
        say(error, error_size, "prepare the compiler");
        goto done;
    }
    probe_stacks(context);
    if (!aot_compile_wasm(context)) {
        say(error, error_size, "compile");
        goto done;
    }
    if (options->level == 0 && has_tail_calls(context)) {
        outcome = AOTC_TAIL_CALLS;
        goto done;
    }
    *aot = aot_emit_aot_file_buf(context, data, aot_size);
    if (*aot)
        outcome = AOTC_DONE;
    else
        say(error, error_size, "write the code");

done:
    if (context)
        aot_destroy_comp_context(context);
    if (data)
        aot_destroy_comp_data(data);
    wasm_runtime_unload(module);
    return outcome;
}

void
aotc_free(uint8_t *aot)
{
    wasm_runtime_free(aot);
}
