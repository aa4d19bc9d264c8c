#include "aotc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Core.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "glue.h"

#include "aot.h"
#include "aot_compiler.h"
#include "aot_emit_aot_file.h"
#include "aot_llvm.h"
#include "wasm.h"
#include "wasm_export.h"

struct aotc_module {
    wasm_module_t wasm;
    AOTCompData *data;
    AOTCompContext *context;
    const aotc_options *options;
    LLVMMemoryBufferRef object;
};

/* What aotc_finish makes a file of: WAMR asks LLVM for an object, by way of aotc_emit. */
static LLVMMemoryBufferRef finished;

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

aotc_module *
aotc_open(uint8_t *wasm, uint32_t wasm_size, const aotc_options *options, char *error, uint32_t error_size)
{
    AOTCompOption option = { 0 };
    aotc_module *module = calloc(1, sizeof(*module));

    if (!module)
        return NULL;
    module->options = options;
    module->wasm = wasm_runtime_load(wasm, wasm_size, error, error_size);
    if (!module->wasm)
        goto failed;

    option.opt_level = options->level;
    /* All that code refers to is within the first 2 GiB: wamr-sys/glue/window.c puts it there. */
    option.size_level = 3;
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
    option.enable_thread_mgr = has_threads((WASMModule *)module->wasm);
    option.aux_stack_frame_type = AOT_STACK_FRAME_OFF;
    if (options->segue)
        option.segue_flags = 0x1F1F;
    aotc_set_flags(options->flags);

    module->data = aot_create_comp_data((WASMModule *)module->wasm, NULL, false);
    if (!module->data) {
        say(error, error_size, "read the module");
        goto failed;
    }
    module->context = aot_create_comp_context(module->data, &option);
    if (!module->context) {
        say(error, error_size, "prepare the compiler");
        goto failed;
    }
    probe_stacks(module->context);
    /* Nobody reads the names of values and blocks. Those of functions, which the file needs, are kept. */
    LLVMContextSetDiscardValueNames(module->context->context, true);
    return module;

failed:
    aotc_close(module);
    return NULL;
}

uint32_t
aotc_function_count(const aotc_module *module)
{
    return module->context->func_ctx_count;
}

uint32_t
aotc_function_size(const aotc_module *module, uint32_t function)
{
    return module->context->func_ctxes[function]->aot_func->code_size;
}

static bool
optimise(const aotc_module *module, char *error, uint32_t error_size)
{
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failed;

    LLVMPassBuilderOptionsSetLoopVectorization(options, true);
    LLVMPassBuilderOptionsSetSLPVectorization(options, true);
    LLVMPassBuilderOptionsSetLoopUnrolling(options, true);
    failed = LLVMRunPasses(module->context->module, module->options->passes, module->context->target_machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (failed) {
        char *why = LLVMGetErrorMessage(failed);
        snprintf(error, error_size, "optimise: %s", why);
        LLVMDisposeErrorMessage(why);
        return false;
    }
    return true;
}

aotc_outcome
aotc_object(aotc_module *module, uint32_t from, uint32_t to, const uint8_t **object, uint64_t *object_size,
            char *error, uint32_t error_size)
{
    AOTCompContext *context = module->context;
    char *why = NULL;

    if (!aotc_translate(context, from, to)) {
        say(error, error_size, "compile");
        return AOTC_REFUSED;
    }
    if (module->options->level == 0 && aotc_has_tail_calls(context->module))
        return AOTC_TAIL_CALLS;
    if (!optimise(module, error, error_size))
        return AOTC_REFUSED;
    if (LLVMTargetMachineEmitToMemoryBuffer(context->target_machine, context->module, LLVMObjectFile, &why,
                                            &module->object)) {
        snprintf(error, error_size, "generate code: %s", why ? why : "no reason given");
        LLVMDisposeMessage(why);
        return AOTC_REFUSED;
    }
    *object = (const uint8_t *)LLVMGetBufferStart(module->object);
    *object_size = LLVMGetBufferSize(module->object);
    return AOTC_DONE;
}

/* Takes the place of LLVMTargetMachineEmitToMemoryBuffer where WAMR writes the file. */
LLVMBool
aotc_emit(LLVMTargetMachineRef machine, LLVMModuleRef module, LLVMCodeGenFileType type, char **error,
          LLVMMemoryBufferRef *object)
{
    (void)machine;
    (void)module;
    (void)type;
    if (!finished) {
        *error = LLVMCreateMessage("there is no object");
        return true;
    }
    *object = finished;
    finished = NULL;
    return false;
}

aotc_outcome
aotc_finish(aotc_module *module, const uint8_t *object, uint64_t object_size, uint8_t **aot, uint32_t *aot_size,
            char *error, uint32_t error_size)
{
    finished = LLVMCreateMemoryBufferWithMemoryRangeCopy((const char *)object, object_size, "object");
    *aot = aot_emit_aot_file_buf(module->context, module->data, aot_size);
    if (*aot)
        return AOTC_DONE;
    say(error, error_size, "write the code");
    return AOTC_REFUSED;
}

void
aotc_free(uint8_t *aot)
{
    wasm_runtime_free(aot);
}

void
aotc_close(aotc_module *module)
{
    if (module->object)
        LLVMDisposeMemoryBuffer(module->object);
    if (module->context)
        aot_destroy_comp_context(module->context);
    if (module->data)
        aot_destroy_comp_data(module->data);
    if (module->wasm)
        wasm_runtime_unload(module->wasm);
    free(module);
}
