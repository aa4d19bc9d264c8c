/* What WAMR's public API lacks, over its internal headers. Compiled with WAMR's own definitions. */
#include "glue.h"

#include <stdarg.h>
#include <stdio.h>

#include "bh_platform.h"
#include "wasm_memory.h"
#include "wasm_runtime_common.h"
#include "../interpreter/wasm_runtime.h"
#include "wasmtime_ssp.h"
#include "posix.h"

/* WAMR says everything that matters through error buffers and exceptions. Its messages would land in the
   guest's stdout. */
int
wamr_glue_vprintf(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
    return 0;
}

void
wamr_glue_log(uint32 level, const char *file, int line, const char *format, ...)
{
    (void)level;
    (void)file;
    (void)line;
    (void)format;
}

bool
wamr_glue_init_thread(void)
{
    return wasm_runtime_init_thread_env();
}

void
wamr_glue_set_wakeup_signal(int signal)
{
    os_set_signal_number_for_blocking_op(signal);
}

static WASMMemoryInstance *
memory(wasm_module_inst_t instance)
{
    WASMModuleInstance *inst = (WASMModuleInstance *)instance;
    return inst->memory_count > 0 ? inst->memories[0] : NULL;
}

bool
wamr_glue_memory_pages(wasm_module_inst_t instance, uint32_t *present, uint32_t *most)
{
    WASMMemoryInstance *linear = memory(instance);
    if (!linear)
        return false;
    *present = linear->cur_page_count;
    *most = linear->max_page_count;
    return true;
}

bool
wamr_glue_cap_memory(wasm_module_inst_t instance, uint32_t most)
{
    WASMMemoryInstance *linear = memory(instance);
    if (!linear)
        return true;
    if (most < linear->cur_page_count)
        return false;
    linear->max_page_count = most;
    return true;
}

/* What a read-only directory and everything opened through it may be used for. */
static const __wasi_rights_t WRITING =
    __WASI_RIGHT_FD_WRITE | __WASI_RIGHT_FD_ALLOCATE | __WASI_RIGHT_FD_FILESTAT_SET_SIZE
    | __WASI_RIGHT_FD_FILESTAT_SET_TIMES | __WASI_RIGHT_PATH_CREATE_DIRECTORY
    | __WASI_RIGHT_PATH_CREATE_FILE | __WASI_RIGHT_PATH_LINK_SOURCE | __WASI_RIGHT_PATH_LINK_TARGET
    | __WASI_RIGHT_PATH_RENAME_SOURCE | __WASI_RIGHT_PATH_RENAME_TARGET | __WASI_RIGHT_PATH_SYMLINK
    | __WASI_RIGHT_PATH_REMOVE_DIRECTORY | __WASI_RIGHT_PATH_UNLINK_FILE
    | __WASI_RIGHT_PATH_FILESTAT_SET_SIZE | __WASI_RIGHT_PATH_FILESTAT_SET_TIMES;

static bool
make_read_only(wasm_module_inst_t instance, __wasi_fd_t fd)
{
    WASIContext *wasi = wasm_runtime_get_wasi_ctx(instance);
    __wasi_fdstat_t stat;
    if (wasmtime_ssp_fd_fdstat_get(NULL, wasi->curfds, fd, &stat) != __WASI_ESUCCESS)
        return false;
    return wasmtime_ssp_fd_fdstat_set_rights(NULL, wasi->curfds, fd, stat.fs_rights_base & ~WRITING,
                                             stat.fs_rights_inheriting & ~WRITING)
           == __WASI_ESUCCESS;
}

bool
wamr_glue_set_wasi(wasm_module_inst_t instance, const char *argv[], uint32_t argc, const char *env[],
                   uint32_t env_count, const wamr_glue_preopen *preopens, uint32_t preopen_count,
                   const int stdio[3], char *error, uint32_t error_size)
{
    /* WAMR takes "guest::host"; the first "::" divides, which a guest name with one in it would break. */
    char **maps = NULL;
    bool done = false;
    uint32_t i;

    if (preopen_count > 0 && !(maps = calloc(preopen_count, sizeof(char *)))) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    for (i = 0; i < preopen_count; i++) {
        if (strstr(preopens[i].guest, "::")) {
            snprintf(error, error_size, "a preopened directory's name must not hold \"::\": %s", preopens[i].guest);
            goto end;
        }
        if (asprintf(&maps[i], "%s::%s", preopens[i].guest, preopens[i].host) < 0) {
            maps[i] = NULL;
            snprintf(error, error_size, "out of memory");
            goto end;
        }
    }
    wasm_runtime_destroy_wasi(instance);
    wasm_runtime_set_wasi_ctx(instance, NULL);
    error[0] = '\0';
    if (!wasm_runtime_init_wasi(instance, NULL, 0, (const char **)maps, preopen_count, env, env_count, NULL, 0,
                                NULL, 0, (char **)argv, argc, stdio[0], stdio[1], stdio[2], error, error_size))
        goto end;
    for (i = 0; i < preopen_count; i++) {
        if (preopens[i].read_only && !make_read_only(instance, 3 + i)) {
            snprintf(error, error_size, "make the preopened directory %s read-only", preopens[i].guest);
            goto end;
        }
    }
    done = true;
end:
    for (i = 0; i < preopen_count; i++)
        free(maps[i]);
    free(maps);
    return done;
}
