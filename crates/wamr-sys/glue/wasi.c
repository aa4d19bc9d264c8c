/* A WASI context that can be changed after instantiation, read-only preopens, and a few functions done
 * differently from WAMR. */

#include "glue.h"

#include <errno.h>
#include <time.h>

#include "posix.h"
#include "rights.h"
#include "wasm_runtime.h"
#include "wasmtime_ssp.h"
#include "warm.h"

/* On a directory: everything that changes something below it. A hard link made from here would reach a
 * file of this directory through another one that is writable. */
#define WRITE_PATH                                                                               \
    (__WASI_RIGHT_PATH_CREATE_DIRECTORY | __WASI_RIGHT_PATH_CREATE_FILE                          \
     | __WASI_RIGHT_PATH_LINK_SOURCE | __WASI_RIGHT_PATH_LINK_TARGET                             \
     | __WASI_RIGHT_PATH_RENAME_SOURCE | __WASI_RIGHT_PATH_RENAME_TARGET                         \
     | __WASI_RIGHT_PATH_FILESTAT_SET_SIZE | __WASI_RIGHT_PATH_FILESTAT_SET_TIMES                \
     | __WASI_RIGHT_PATH_SYMLINK | __WASI_RIGHT_PATH_UNLINK_FILE                                 \
     | __WASI_RIGHT_PATH_REMOVE_DIRECTORY | __WASI_RIGHT_FD_FILESTAT_SET_TIMES)
/* On a file. FD_DATASYNC is among them because WAMR opens for writing to grant it. */
#define WRITE_FILE                                                                               \
    (__WASI_RIGHT_FD_WRITE | __WASI_RIGHT_FD_ALLOCATE | __WASI_RIGHT_FD_DATASYNC                 \
     | __WASI_RIGHT_FD_FILESTAT_SET_SIZE)

void
glue_wasi_drop(wasm_module_inst_t instance)
{
    wasm_runtime_destroy_wasi(instance);
    wasm_runtime_set_wasi_ctx(instance, NULL);
}

bool
glue_wasi_replace(wasm_module_inst_t instance, const char **args, uint32_t arg_count, const char **env,
                  uint32_t env_count, const int stdio[3], char *error, uint32_t error_size)
{
    glue_wasi_drop(instance);
    if (wasm_runtime_init_wasi(instance, NULL, 0, NULL, 0, env, env_count, NULL, 0, NULL, 0, (char **)args,
                               arg_count, stdio[0], stdio[1], stdio[2], error, error_size))
        return true;
    glue_wasi_drop(instance);
    return false;
}

bool
glue_wasi_preopen(wasm_module_inst_t instance, uint32_t guest_fd, const char *guest_name, int host_fd,
                  bool read_only)
{
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);

    if (!context)
        return false;
    /* The name first: the table of descriptors would own host_fd already when the name fails. */
    if (!fd_prestats_insert(context->prestats, guest_name, guest_fd)
        || !fd_table_insert_existing(context->curfds, guest_fd, host_fd, false))
        return false;
    if (!read_only)
        return true;
    return wasmtime_ssp_fd_fdstat_set_rights(NULL, context->curfds, guest_fd,
                                             RIGHTS_DIRECTORY_BASE & ~(__wasi_rights_t)WRITE_PATH,
                                             RIGHTS_DIRECTORY_INHERITING
                                                 & ~(__wasi_rights_t)(WRITE_PATH | WRITE_FILE))
           == 0;
}

bool
glue_wasi_socket(wasm_module_inst_t instance, uint32_t guest_fd, int host_fd)
{
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);

    return context && fd_table_insert_existing(context->curfds, guest_fd, host_fd, false);
}

uint32_t
glue_wasi_exit_code(wasm_module_inst_t instance)
{
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);
    return context ? context->exit_code : 0;
}

/*
 * In a read-only directory: opening for writing fails as on a read-only file system, and rights that the
 * guest asks for without using them are left out instead of failing the call (Rust's standard library
 * asks for all of them whatever it opens).
 */
static __wasi_errno_t
path_open(wasm_exec_env_t exec_env, __wasi_fd_t directory, __wasi_lookupflags_t lookup, const char *path,
          uint32 path_length, __wasi_oflags_t oflags, __wasi_rights_t base, __wasi_rights_t inheriting,
          __wasi_fdflags_t fdflags, __wasi_fd_t *opened)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);
    __wasi_fdstat_t stat;
    __wasi_fd_t fd = (__wasi_fd_t)-1;
    __wasi_errno_t error;

    if (!context || !wasm_runtime_validate_native_addr(instance, opened, sizeof(*opened)))
        return (__wasi_errno_t)-1;
    if (wasmtime_ssp_fd_fdstat_get(exec_env, context->curfds, directory, &stat) == 0
        && stat.fs_filetype == __WASI_FILETYPE_DIRECTORY
        && !(stat.fs_rights_inheriting & __WASI_RIGHT_FD_WRITE)) {
        if ((base & WRITE_FILE) || (oflags & (__WASI_O_CREAT | __WASI_O_TRUNC)))
            return __WASI_EROFS;
        base &= stat.fs_rights_inheriting;
        inheriting &= stat.fs_rights_inheriting;
    }
    error = wasmtime_ssp_path_open(exec_env, context->curfds, directory, lookup, path, path_length, oflags, base,
                                   inheriting, fdflags, &fd);
    *opened = fd;
    return error;
}

static __wasi_errno_t
sleep_until_clock(wasm_exec_env_t exec_env, const __wasi_subscription_t *in, __wasi_event_t *out)
{
    static const clockid_t clocks[] = {
        [__WASI_CLOCK_REALTIME] = CLOCK_REALTIME,
        [__WASI_CLOCK_MONOTONIC] = CLOCK_MONOTONIC,
    };
    __wasi_timestamp_t nanoseconds = in->u.u.clock.timeout;
    struct timespec time = { .tv_sec = (time_t)(nanoseconds / 1000000000u),
                             .tv_nsec = (long)(nanoseconds % 1000000000u) };
    int flags = in->u.u.clock.flags & __WASI_SUBSCRIPTION_CLOCK_ABSTIME ? TIMER_ABSTIME : 0;
    int error;

    *out = (__wasi_event_t){ .userdata = in->userdata, .type = in->u.type };
    if (in->u.u.clock.clock_id >= sizeof(clocks) / sizeof(clocks[0])) {
        out->error = __WASI_ENOTSUP;
        return 0;
    }
    if (!wasm_runtime_begin_blocking_op(exec_env))
        return __WASI_EINTR;
    error = clock_nanosleep(clocks[in->u.u.clock.clock_id], flags, &time, NULL);
    wasm_runtime_end_blocking_op(exec_env);
    return error == EINTR ? __WASI_EINTR : 0;
}

/*
 * WAMR cuts every wait into slices of a second, to look whether the thread was cancelled; a node full of
 * sleeping guests would never be idle. (Its slices also turn a sleep until a point in time into a busy
 * loop.) Here each wait is one system call, which the wakeup signal interrupts.
 */
static __wasi_errno_t
poll_oneoff(wasm_exec_env_t exec_env, const __wasi_subscription_t *in, __wasi_event_t *out, uint32 count,
            uint32 *happened)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);
    size_t events = 0;
    __wasi_errno_t error;

    if (!context || !wasm_runtime_validate_native_addr(instance, (void *)in, (uint64)count * sizeof(*in))
        || !wasm_runtime_validate_native_addr(instance, out, (uint64)count * sizeof(*out))
        || !wasm_runtime_validate_native_addr(instance, happened, sizeof(*happened)))
        return (__wasi_errno_t)-1;
    if (count == 0)
        return __WASI_EINVAL;
    if (count == 1 && in->u.type == __WASI_EVENTTYPE_CLOCK) {
        error = sleep_until_clock(exec_env, in, out);
        events = 1;
    }
    else {
        error = wasmtime_ssp_poll_oneoff(exec_env, context->curfds, in, out, count, &events);
    }
    if (!error)
        *happened = (uint32)events;
    return error;
}

/* WAMR stores the code after it has told the other threads to end: the main thread could be faster. */
static void
proc_exit(wasm_exec_env_t exec_env, uint32 code)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);

    if (context)
        context->exit_code = code;
    wasm_runtime_set_exception(instance, "wasi proc exit");
}

/* A guest may say with it that it is ready to be copied: see warm.c. */
static __wasi_errno_t
path_filestat_get(wasm_exec_env_t exec_env, __wasi_fd_t directory, __wasi_lookupflags_t lookup, const char *path,
                  uint32 path_length, __wasi_filestat_t *stat)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);

    if (!context || !wasm_runtime_validate_native_addr(instance, stat, sizeof(*stat)))
        return (__wasi_errno_t)-1;
    if (warm_filestat(exec_env, context, path, path_length, stat))
        return 0;
    return wasmtime_ssp_path_filestat_get(exec_env, context->curfds, directory, lookup, path, path_length, stat);
}

static NativeSymbol replaced[] = {
    { "path_filestat_get", path_filestat_get, "(ii*~*)i", NULL },
    { "path_open", path_open, "(ii*~iIIi*)i", NULL },
    { "poll_oneoff", poll_oneoff, "(**i*)i", NULL },
    { "proc_exit", proc_exit, "(i)", NULL },
};

bool
glue_wasi_register(void)
{
    /* WAMR looks through the latest registration first. */
    uint32 count = sizeof(replaced) / sizeof(replaced[0]);
    return wasm_runtime_register_natives("wasi_snapshot_preview1", replaced, count)
           && wasm_runtime_register_natives("wasi_unstable", replaced, count);
}
