/*
 * A guest that stops at its ready point and goes on from there in any number of other processes.
 *
 * The guest runs on a stack in the range of window.c instead of the thread's own, so the stack is part of an image
 * like all else, and so are its registers, which lie in a variable of this file. Nothing of the stack's frames is
 * Rust's or knows of memory outside the range: they are WAMR's, the compiled code's and this file's.
 *
 * The guest says that it is ready by asking for the state of a file with a certain name. Up to there it may do nothing
 * that a copy could not be given: what it did is looked at when it stops.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>

#include "glue.h"
#include "descriptors.h"
#include "warm.h"
#include "window.h"

#include "libc_errno.h"
#include "thread_manager.h"
#include "wasm_runtime.h"
#include "wasmtime_ssp.h"

/* As much as the zygote gives all its children. Only what is touched takes memory. */
#define STACK_SIZE ((size_t)1 << 20)

typedef enum { COLD, ON_ITS_WAY, READY } stage;

static struct {
    stage stage;
    /* Lowest address; the guard pages come first. */
    uint8 *stack;
    ucontext_t host;
    ucontext_t guest;
    glue_warm_run run;
    /* Set when the guest is over. */
    bool returned;
    bool over;
    uint32 *results;
    glue_descriptor_table *descriptors;
    /* The first thing that it may not have done; empty: nothing. */
    char refusal[160];
} warm;

/* Of the thread that runs on such a stack. */
static __thread uint8 *boundary;

/* WAMR's own, under other names (cmake/platform.cmake). Its sockets call the last two instead of the C library's. */
uint8 *
wamr_os_thread_get_stack_boundary(void);
__wasi_errno_t
wamr_convert_errno(int error);
int
warm_setsockopt(int socket, int level, int name, const void *value, socklen_t length);
int
warm_getsockname(int socket, struct sockaddr *address, socklen_t *length);

uint8 *
os_thread_get_stack_boundary(void)
{
    return boundary ? boundary : wamr_os_thread_get_stack_boundary();
}

static size_t
guard_size(void)
{
    return (size_t)os_getpagesize() * STACK_OVERFLOW_CHECK_GUARD_PAGE_COUNT;
}

glue_range
glue_warm_guard(void)
{
    if (!warm.stack)
        return (glue_range){ NULL, NULL };
    return (glue_range){ (char *)warm.stack, (char *)warm.stack + guard_size() };
}

void
warm_refuse(const char *what, const char *name)
{
    if (warm.stage == ON_ITS_WAY && !warm.refusal[0])
        snprintf(warm.refusal, sizeof(warm.refusal), what, name);
}

bool
warm_on_its_way(void)
{
    return warm.stage == ON_ITS_WAY;
}

__wasi_errno_t
convert_errno(int error)
{
    switch (error) {
        case EROFS:
            warm_refuse("it changed the file system%s", "");
            break;
        case EACCES:
        case EPERM:
            warm_refuse("it was denied what its container may be granted%s", "");
            break;
        default:
            break;
    }
    return wamr_convert_errno(error);
}

int
warm_setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
    warm_refuse("it set an option of a socket%s", "");
    return setsockopt(socket, level, name, value, length);
}

int
warm_getsockname(int socket, struct sockaddr *address, socklen_t *length)
{
    warm_refuse("it asked for the address of a socket%s", "");
    return getsockname(socket, address, length);
}

/* On the guest's stack. */
static void
run_guest(void)
{
    warm.returned = glue_run_start_function(warm.run.instance, warm.run.exec_env);
    if (warm.returned && warm.run.initialize)
        warm.returned = wasm_runtime_call_wasm(warm.run.exec_env, warm.run.initialize, 0, warm.results);
    if (warm.returned)
        warm.returned = wasm_runtime_call_wasm(warm.run.exec_env, warm.run.entry, 0, warm.results);
    warm.over = true;
}

/* The guest runs until it is ready or over. */
static glue_warm_outcome
switch_to_guest(void)
{
    boundary = warm.stack;
    if (swapcontext(&warm.host, &warm.guest) != 0)
        return GLUE_WARM_NO_MEMORY;
    boundary = NULL;
    if (!warm.over)
        return GLUE_WARM_READY;
    return warm.returned ? GLUE_WARM_RETURNED : GLUE_WARM_FAILED;
}

glue_warm_outcome
glue_warm_begin(const glue_warm_run *run)
{
    WASIContext *context = wasm_runtime_get_wasi_ctx(run->instance);

    warm.run = *run;
    warm.stack = glue_place(STACK_SIZE);
    /* A result has four cells at most. */
    warm.results = heap_malloc((run->result_count + 1) * 4 * sizeof(uint32));
    if (!context || !warm.stack || !warm.results
        || mprotect(warm.stack + guard_size(), STACK_SIZE - guard_size(), PROT_READ | PROT_WRITE) != 0)
        return GLUE_WARM_NO_MEMORY;
    warm.descriptors = glue_descriptors_remember(context->curfds);
    if (!warm.descriptors || getcontext(&warm.guest) != 0)
        return GLUE_WARM_NO_MEMORY;
    warm.guest.uc_stack = (stack_t){ .ss_sp = warm.stack, .ss_size = STACK_SIZE };
    warm.guest.uc_link = &warm.host;
    makecontext(&warm.guest, run_guest, 0);
    warm.stage = ON_ITS_WAY;
    return switch_to_guest();
}

glue_warm_outcome
glue_warm_resume(void)
{
    WASMMemoryInstance *memory;
    WASIContext *context = NULL;

    if (warm.stage == READY)
        context = wasm_runtime_get_wasi_ctx(warm.run.instance);
    if (!context || mprotect(warm.stack, guard_size(), PROT_NONE) != 0)
        return GLUE_WARM_NO_MEMORY;
    /* What a process keeps elsewhere than in its memory. */
    wasm_runtime_set_exec_env_tls(warm.run.exec_env);
    memory = wasm_runtime_get_default_memory(warm.run.instance);
#if defined(os_writegsbase)
    if (memory)
        os_writegsbase(memory->memory_data);
#endif
    (void)memory;
    glue_descriptors_set_flags(warm.descriptors, context->curfds);
    return switch_to_guest();
}

const char *
glue_warm_refusal(void)
{
    return warm.refusal;
}

const uint32_t *
glue_warm_results(void)
{
    return warm.results;
}

/* Whether the path's last component is the name of that file. */
static bool
is_ready_file(const char *path, uint32 length)
{
    static const char name[] = GLUE_WARM_READY_FILE;
    uint32 own = sizeof(name) - 1;

    return length >= own && !memcmp(path + length - own, name, own) && (length == own || path[length - own - 1] == '/');
}

static void
stop(wasm_exec_env_t exec_env, WASIContext *context)
{
    const char *changed = glue_descriptors_changed(warm.descriptors, context->curfds);

    if (bh_list_length(&wasm_exec_env_get_cluster(exec_env)->exec_env_list) != 1)
        warm_refuse("it has threads%s", "");
    if (changed)
        warm_refuse("it %s", changed);
    warm.descriptors = glue_descriptors_remember(context->curfds);
    if (!warm.descriptors)
        warm_refuse("there is no memory for the flags of its descriptors%s", "");
    warm.stage = READY;
    swapcontext(&warm.guest, &warm.host);
    /* Here goes on whoever maps the image. */
}

bool
warm_filestat(wasm_exec_env_t exec_env, WASIContext *context, const char *path, uint32 length,
              __wasi_filestat_t *stat)
{
    if (warm.stage == COLD || !is_ready_file(path, length))
        return false;
    if (warm.stage == ON_ITS_WAY) {
        /* Only the main thread's stack can be saved. */
        if (exec_env == warm.run.exec_env)
            stop(exec_env, context);
        else
            warm_refuse("one of its threads said that it is ready%s", "");
    }
    *stat = (__wasi_filestat_t){ .st_filetype = __WASI_FILETYPE_REGULAR_FILE, .st_nlink = 1 };
    return true;
}
