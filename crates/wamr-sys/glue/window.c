/*
 * One range of addresses for everything that loading and instantiation leave behind, so that it can be saved as
 * an image and mapped at the same place by another process: see image.c.
 *
 *     bottom                      low          linear                        guards
 *       |  not used yet            |  heap.c     |  linear memory, 8 GiB       |  guard pages  |
 *
 * The heap grows down towards `bottom`, so the first pages of the heap and of the linear memory, which are all a
 * small guest touches, share one page of page tables. The range lies low, where the program's own data shares
 * the next levels with it. Nothing of it is accessible, and so costs anything, before it is used.
 */

#include "glue.h"
#include "window.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "bh_platform.h"

#define PAGE ((uintptr_t)4096)
#define MB ((uintptr_t)1 << 20)
#define GB ((uintptr_t)1 << 30)
/* What WAMR asks for: a 32-bit address and a 32-bit offset reach no further. */
#define LINEAR_SIZE (8 * GB)
/* Above it: what an access of 16 bytes at the last address touches, and the pages below. */
#define GUARD_PAGES 64
#define TAIL_SIZE (MB)
/* Places there are to choose from, 2 MiB each: guests of one zygote share a layout, zygotes do not. */
#define PLACES 128
/* Room below the linear memory where none of them is free. */
#define ANYWHERE (512 * MB)

/* Where it may lie. The program lies below both. The kernel puts the C library's heap anywhere in the GiB behind the program,
 * so it may be in the way of the first, hardly of the second. Of the last 2 MiB before `linear`, half is our heap's and half
 * the linear memory's. Both end within the first 2 GiB: compiled code refers to its own data by 32 bits. */
static const struct {
    uintptr_t lowest;
    uintptr_t highest_linear;
} ranges[] = { { 256 * MB, GB - MB }, { 1280 * MB, 2 * GB - MB } };

static struct {
    uintptr_t bottom;
    /* Lowest address in use, always 8 below a multiple of 16: see heap.c. From `accessible` on the heap can be
     * written to. */
    uintptr_t low;
    uintptr_t accessible;
    /* Start of the linear memory's place; 0 if no range could be reserved. */
    uintptr_t linear;
    bool linear_taken;
    /* One bit for each guard page in use. */
    uint64 guards;
    /* Mappings that the kernel placed. */
    uint32 outside;
} window;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *
reserve(uintptr_t at, size_t size, int flags)
{
    return mmap((void *)at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

static void
take(uintptr_t bottom, uintptr_t linear)
{
    window.bottom = bottom;
    window.linear = linear;
    window.accessible = linear;
    window.low = linear - 8;
}

void
window_reserve(void)
{
    uint8 place = 0;

    if (window.linear)
        return;
    /* Without randomness it is the highest place. */
    if (getrandom(&place, sizeof(place), GRND_NONBLOCK) != sizeof(place))
        place = 0;
    place %= PLACES;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && !window.linear; i++) {
        uintptr_t lowest = ranges[i].lowest, linear = ranges[i].highest_linear - place * 2 * MB;
        size_t size = linear - lowest + LINEAR_SIZE + TAIL_SIZE;
        void *got = reserve(lowest, size, MAP_FIXED_NOREPLACE);
        if (got == (void *)lowest)
            take(lowest, linear);
        else if (got != MAP_FAILED)
            munmap(got, size);
    }
    if (!window.linear) {
        /* Compiled code is not loaded there: what its relocations have to reach is too far. */
        void *got = reserve(0, ANYWHERE + LINEAR_SIZE + TAIL_SIZE, 0);
        if (got != MAP_FAILED)
            take((uintptr_t)got, (uintptr_t)got + ANYWHERE);
    }
}

void *
window_lower(size_t size)
{
    uintptr_t low, start;
    /* Few calls for a large heap, few pages beyond a small one. */
    size_t step = size > MB ? 4 * MB : 64 * 1024;

    if (!window.linear || size > window.low - window.bottom)
        return NULL;
    low = window.low - size;
    if (low < window.accessible) {
        start = low & ~(step - 1);
        if (start < window.bottom)
            start = low & ~(PAGE - 1);
        if (mprotect((void *)start, window.accessible - start, PROT_READ | PROT_WRITE) != 0)
            return NULL;
        window.accessible = start;
    }
    window.low = low;
    return (void *)low;
}

void
window_new_page(void)
{
    window.low = (window.low & ~(PAGE - 1)) - 8;
}

void *
glue_place(size_t size)
{
    void *place = NULL;

    heap_lock();
    size = (size + PAGE - 1) & ~(PAGE - 1);
    /* Below all that can be written to, so that no later step of `accessible` meets it. */
    if (window.linear && size < window.accessible - window.bottom - PAGE) {
        window.accessible -= size;
        window.low = window.accessible - 8;
        place = (void *)window.accessible;
    }
    heap_unlock();
    return place;
}

static bool
is_inside(uintptr_t address)
{
    return window.linear && address >= window.bottom && address < window.linear + LINEAR_SIZE + TAIL_SIZE;
}

static uintptr_t
guard_page(uint32 number)
{
    return window.linear + LINEAR_SIZE + TAIL_SIZE - (number + 1) * PAGE;
}

static void *
take_inside(size_t size)
{
    void *taken = NULL;

    pthread_mutex_lock(&lock);
    if (window.linear && size == LINEAR_SIZE && !window.linear_taken) {
        window.linear_taken = true;
        taken = (void *)window.linear;
    }
    for (uint32 number = 0; window.linear && size <= PAGE && !taken && number < GUARD_PAGES; number++) {
        if (!(window.guards & ((uint64)1 << number))) {
            window.guards |= (uint64)1 << number;
            taken = (void *)guard_page(number);
        }
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

static void
give_back(uintptr_t address, size_t size)
{
    pthread_mutex_lock(&lock);
    if (address == window.linear) {
        /* Without its pages, and not accessible again. */
        if (reserve(address, size, MAP_FIXED) != MAP_FAILED)
            window.linear_taken = false;
    }
    for (uint32 number = 0; number < GUARD_PAGES; number++) {
        if (address == guard_page(number))
            window.guards &= ~((uint64)1 << number);
    }
    pthread_mutex_unlock(&lock);
}

/* WAMR's own, under another name (cmake/platform.cmake). */
void *
wamr_os_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file);
void
wamr_os_munmap(void *address, size_t size);

/* The signal stack of the engine's first thread. On its own it would be all that is in the kernel's usual place for
 * mappings, and cost each process three pages of page tables. In a section of its own, as it is no variable that an
 * image would have to restore. */
static _Alignas(4096) char signal_stack[32 * 1024] __attribute__((section(".bss.signal_stack")));
static bool signal_stack_taken;

void *
os_mmap(void *hint, size_t size, int prot, int flags, os_file_handle file)
{
    void *mapped = NULL;

    if (!hint && size == sizeof(signal_stack) && prot == (MMAP_PROT_READ | MMAP_PROT_WRITE)
        && !__atomic_exchange_n(&signal_stack_taken, true, __ATOMIC_ACQUIRE))
        return signal_stack;

    if (!hint && prot == MMAP_PROT_NONE && flags == MMAP_MAP_NONE)
        mapped = take_inside(size);
    if (!mapped) {
        mapped = wamr_os_mmap(hint, size, prot, flags, file);
        if (mapped)
            __atomic_add_fetch(&window.outside, 1, __ATOMIC_RELAXED);
    }
    return mapped;
}

void
os_munmap(void *address, size_t size)
{
    if (address == signal_stack) {
        memset(signal_stack, 0, sizeof(signal_stack));
        __atomic_store_n(&signal_stack_taken, false, __ATOMIC_RELEASE);
        return;
    }
    if (is_inside((uintptr_t)address)) {
        give_back((uintptr_t)address, size);
        return;
    }
    if (address)
        __atomic_sub_fetch(&window.outside, 1, __ATOMIC_RELAXED);
    wamr_os_munmap(address, size);
}

void
window_count_outside(void)
{
    __atomic_add_fetch(&window.outside, 1, __ATOMIC_RELAXED);
}

void
glue_window(glue_window_state *state)
{
    state->bottom = window.bottom;
    state->accessible = window.accessible;
    state->linear = window.linear;
    state->linear_taken = window.linear_taken;
    state->outside = __atomic_load_n(&window.outside, __ATOMIC_RELAXED);
}
