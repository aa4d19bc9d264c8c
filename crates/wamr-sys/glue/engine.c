/* Start of the engine: silence, and a stack that costs nothing. */

#include "glue.h"

#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "bh_platform.h"
#include "window.h"

/* Takes the place of vprintf in WAMR's platform layer. */
int
glue_discard(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
    return 0;
}

/* Read by a patch of WAMR wherever it gives compiled code its memory's address. */
bool glue_gs_base_is_writable;

static bool
kernel_lets_programs_write_gs_base(void)
{
#if defined(__x86_64__)
    /* HWCAP2_FSGSBASE of asm/hwcap2.h. */
    return (getauxval(AT_HWCAP2) & 2) != 0;
#else
    return false;
#endif
}

/*
 * WAMR has just written to every page of this thread's stack, so that the kernel extends the mapping down
 * to the guard pages. The extent stays when the pages are given back, and it was all that was wanted.
 */
static void
release_touched_stack(void)
{
    uintptr_t page = (uintptr_t)os_getpagesize();
    uintptr_t low = (uintptr_t)os_thread_get_stack_boundary() + page * STACK_OVERFLOW_CHECK_GUARD_PAGE_COUNT;
    /* Well below this frame and whatever madvise itself needs. */
    uintptr_t high = ((uintptr_t)__builtin_frame_address(0) - 4 * page) & ~(page - 1);
    if (low < high)
        madvise((void *)low, high - low, MADV_DONTNEED);
}

bool
glue_engine_init(int wakeup_signal, uint32_t max_threads)
{
    RuntimeInitArgs args = {
        .mem_alloc_type = Alloc_With_Allocator,
        .mem_alloc_option.allocator = { heap_malloc, heap_realloc, heap_free },
        .running_mode = Mode_Interp,
        .max_thread_num = max_threads,
    };
    window_reserve();
    glue_gs_base_is_writable = kernel_lets_programs_write_gs_base();
    os_set_signal_number_for_blocking_op(wakeup_signal);
    /* Output is discarded anyway; this spares the formatting. */
    wasm_runtime_set_log_level(WASM_LOG_LEVEL_FATAL);
    if (!wasm_runtime_full_init(&args))
        return false;
    release_touched_stack();
    return glue_wasi_register() && glue_sockets_register();
}
