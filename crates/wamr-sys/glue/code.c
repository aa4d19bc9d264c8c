/*
 * Where WAMR's loader puts compiled code and what belongs to it: in the range of window.c, so that an image covers
 * it. platform.cmake has the loader call these instead of the platform's functions.
 *
 * The loader asks for memory that can be executed, and writes to it. It gets memory that can only be written to, then
 * only be read: who loads code to save it as an image never runs any, and needs no leave to.
 */

#include <sys/mman.h>

#include "glue.h"

#include "bh_platform.h"

#define PAGE ((uintptr_t)4096)

/* In whole pages; there is one module in a process. */
static glue_range code;

void *
glue_code_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file);
void
glue_code_munmap(void *address, size_t size);
int
glue_code_mprotect(void *address, size_t size, int prot);

static bool
is_in_range(void *address)
{
    glue_window_state window;

    glue_window(&window);
    return (uintptr_t)address >= window.bottom && (uintptr_t)address < window.linear;
}

void *
glue_code_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file)
{
    void *place = glue_place(size);

    prot &= ~MMAP_PROT_EXEC;
    if (!place)
        return os_mmap(hint, size, prot, flags, file);
    return os_mprotect(place, size, prot) == 0 ? place : NULL;
}

void
glue_code_munmap(void *address, size_t size)
{
    if ((char *)address == code.start)
        code = (glue_range){ NULL, NULL };
    if (!is_in_range(address)) {
        os_munmap(address, size);
        return;
    }
    /* The place is not used again, and reads as zeros. */
    if (os_mprotect(address, size, MMAP_PROT_READ | MMAP_PROT_WRITE) == 0)
        madvise(address, (size + PAGE - 1) & ~(PAGE - 1), MADV_DONTNEED);
}

int
glue_code_mprotect(void *address, size_t size, int prot)
{
    if (prot & MMAP_PROT_EXEC) {
        uintptr_t end = ((uintptr_t)address + size + PAGE - 1) & ~(PAGE - 1);
        code = (glue_range){ (char *)((uintptr_t)address & ~(PAGE - 1)), (char *)end };
    }
    return os_mprotect(address, size, prot & ~MMAP_PROT_EXEC);
}

glue_range
glue_code(void)
{
    return code;
}
