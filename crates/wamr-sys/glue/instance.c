/* Instantiation without running guest code, the memory cap, and the frames of a trap. */

#include "glue.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "aot_runtime.h"
#include "thread_manager.h"
#include "wasm_runtime.h"
#include "wasm_shared_memory.h"

/* Exported functions that wasm_runtime_instantiate calls on its own, and the names under which they are
 * out of its sight. A name and its substitute are neighbours in the order WAMR sorts exports by, so the
 * sorted table is still sorted when the name comes back. */
static const char *const called_by_wamr[] = { "_initialize", "__post_instantiate", "__wasm_call_ctors" };
static char hidden[][24] = { "_initialize\x01", "__post_instantiate\x01", "__wasm_call_ctors\x01" };
enum { CALLED_BY_WAMR = sizeof(hidden) / sizeof(hidden[0]) };

static bool
is_aot(const WASMModuleCommon *module)
{
    return module->module_type == Wasm_Module_AoT;
}

static WASMExport *
exports_of(WASMModuleCommon *module, uint32 *count)
{
    if (is_aot(module)) {
        *count = ((AOTModule *)module)->export_count;
        return ((AOTModule *)module)->exports;
    }
    *count = ((WASMModule *)module)->export_count;
    return ((WASMModule *)module)->exports;
}

/* `names` remembers the module's own strings. */
static void
hide_exports(WASMModuleCommon *module, char *names[CALLED_BY_WAMR])
{
    uint32 count;
    WASMExport *exports = exports_of(module, &count);

    for (uint32 i = 0; i < count; i++) {
        for (int k = 0; k < CALLED_BY_WAMR; k++) {
            if (exports[i].kind == EXPORT_KIND_FUNC && !strcmp(exports[i].name, called_by_wamr[k])) {
                names[k] = exports[i].name;
                exports[i].name = hidden[k];
            }
        }
    }
}

static void
reveal(char **name, char *names[CALLED_BY_WAMR])
{
    for (int k = 0; k < CALLED_BY_WAMR; k++) {
        if (*name == hidden[k])
            *name = names[k];
    }
}

static void
reveal_exports(WASMModuleCommon *module, WASMModuleInstance *instance, char *names[CALLED_BY_WAMR])
{
    uint32 count;
    WASMExport *exports = exports_of(module, &count);

    for (uint32 i = 0; i < count; i++)
        reveal(&exports[i].name, names);
    if (!instance)
        return;
    for (uint32 i = 0; i < instance->export_func_count; i++) {
        if (is_aot(module))
            reveal(&((AOTFunctionInstance *)instance->export_functions)[i].func_name, names);
        else
            reveal(&instance->export_functions[i].name, names);
    }
}

wasm_module_inst_t
glue_instantiate(wasm_module_t module, uint32_t stack_size, char *error, uint32_t error_size)
{
    AOTModule *aot = is_aot(module) ? (AOTModule *)module : NULL;
    WASMModule *wasm = aot ? NULL : (WASMModule *)module;
    void *aot_start = NULL;
    uint32 wasm_start = (uint32)-1;
    char *names[CALLED_BY_WAMR] = { 0 };
    wasm_module_inst_t instance;

    hide_exports(module, names);
    if (aot) {
        aot_start = aot->start_function;
        aot->start_function = NULL;
    }
    else {
        wasm_start = wasm->start_function;
        wasm->start_function = (uint32)-1;
    }

    instance = wasm_runtime_instantiate(module, stack_size, 0, error, error_size);

    if (aot)
        aot->start_function = aot_start;
    else
        wasm->start_function = wasm_start;
    reveal_exports(module, (WASMModuleInstance *)instance, names);
    return instance;
}

bool
glue_run_start_function(wasm_module_inst_t instance, wasm_exec_env_t exec_env)
{
    WASMModuleCommon *module = wasm_runtime_get_module(instance);

    if (is_aot(module)) {
        AOTModule *aot = (AOTModule *)module;
        AOTFunctionInstance function = { 0 };
        if (!aot->start_function)
            return true;
        function.func_name = "";
        function.func_index = aot->start_func_index;
        function.u.func.func_type =
            (AOTFuncType *)aot->types[aot->func_type_indexes[aot->start_func_index - aot->import_func_count]];
        function.u.func.func_ptr = aot->start_function;
        return wasm_runtime_call_wasm(exec_env, (wasm_function_inst_t)&function, 0, NULL);
    }
    WASMModule *wasm = (WASMModule *)module;
    if (wasm->start_function == (uint32)-1)
        return true;
    return wasm_runtime_call_wasm(
        exec_env, (wasm_function_inst_t)&((WASMModuleInstance *)instance)->e->functions[wasm->start_function], 0,
        NULL);
}

wasm_exec_env_t
glue_exec_env(wasm_module_inst_t instance)
{
    bool fresh = ((WASMModuleInstance *)instance)->exec_env_singleton == NULL;
    wasm_exec_env_t exec_env = wasm_runtime_get_exec_env_singleton(instance);

    if (exec_env && fresh) {
        /* WAMR has filled the whole operand stack with zeros. Anonymous memory holds zeros for nothing. */
        uintptr_t page = (uintptr_t)os_getpagesize();
        uintptr_t low = ((uintptr_t)exec_env->wasm_stack.bottom + page - 1) & ~(page - 1);
        uintptr_t high = (uintptr_t)exec_env->wasm_stack.top_boundary & ~(page - 1);
        if (low < high)
            madvise((void *)low, high - low, MADV_DONTNEED);
    }
    return exec_env;
}

bool
glue_module_memory(wasm_module_t module, glue_memory_limits *limits)
{
    const WASMMemoryType *type;

    if (is_aot(module)) {
        AOTModule *aot = (AOTModule *)module;
        if (aot->import_memory_count)
            type = &aot->import_memories[0].mem_type;
        else if (aot->memory_count)
            type = &aot->memories[0];
        else
            return false;
    }
    else {
        WASMModule *wasm = (WASMModule *)module;
        if (wasm->import_memory_count)
            type = &wasm->import_memories[0].u.memory.mem_type;
        else if (wasm->memory_count)
            type = &wasm->memories[0];
        else
            return false;
    }
    /* A page is not always 64 KiB: for a module that cannot grow its memory, WAMR makes it one big page. */
    limits->initial_bytes = (uint64)type->num_bytes_per_page * type->init_page_count;
    limits->max_bytes = (uint64)type->num_bytes_per_page * type->max_page_count;
    limits->shared = (type->flags & SHARED_MEMORY_FLAG) != 0;
    return true;
}

uint64_t
glue_memory_bytes(wasm_module_inst_t instance)
{
    WASMMemoryInstance *memory = wasm_runtime_get_default_memory(instance);
    return memory ? (uint64)memory->num_bytes_per_page * memory->cur_page_count : 0;
}

void
glue_cap_memory(wasm_module_inst_t instance, uint64_t bytes)
{
    WASMMemoryInstance *memory = wasm_runtime_get_default_memory(instance);
    glue_memory_limits own;

    if (!memory || !glue_module_memory(wasm_runtime_get_module(instance), &own))
        return;
    if (bytes > own.max_bytes)
        bytes = own.max_bytes;
    /* Guest threads share the structure and read it under this lock. */
    shared_memory_lock(memory);
    memory->max_page_count = bytes / memory->num_bytes_per_page;
    shared_memory_unlock(memory);
}

bool
glue_memory_cap(wasm_module_inst_t instance, glue_memory_cap_place *place)
{
    WASMMemoryInstance *memory = wasm_runtime_get_default_memory(instance);
    glue_memory_limits own;

    if (!memory || !glue_module_memory(wasm_runtime_get_module(instance), &own))
        return false;
    place->address = (uint64_t)(uintptr_t)&memory->max_page_count;
    place->bytes_per_page = memory->num_bytes_per_page;
    place->most_pages = own.max_bytes / memory->num_bytes_per_page;
    return true;
}

uint32_t
glue_trap_depth(wasm_exec_env_t exec_env)
{
    return (uint32)bh_vector_size(&wasm_exec_env_get_cluster(exec_env)->exception_frames);
}

bool
glue_trap_frame(wasm_exec_env_t exec_env, uint32_t frame, uint32_t *function, const char **name)
{
    WASMCApiFrame found;

    if (!bh_vector_get(&wasm_exec_env_get_cluster(exec_env)->exception_frames, frame, &found))
        return false;
    *function = found.func_index;
    *name = found.func_name_wp;
    return true;
}
