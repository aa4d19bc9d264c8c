/*
 * WAMR's heap, in the range of window.c. Its state lies in this library's own data, which is saved with an image.
 *
 * Blocks have sizes of 16 bytes' steps up to 128 and of eighths of a power of two beyond. A freed block waits in
 * its size's list for the next request of that size; blocks are neither split nor merged. That wastes little with
 * what WAMR does, which is to load once and then to allocate the same few sizes again and again, and it touches
 * no page but the block's own.
 */

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "glue.h"
#include "window.h"

#include "bh_platform.h"

/* Before each payload. Blocks begin 8 below a multiple of 16, so payloads are aligned to 16 bytes. */
typedef struct header {
    uint64 size_class;
} header;

#define SIZES 240
/* The pages of a freed block from this size on go back to the kernel. */
#define LARGE ((uint64)64 * 1024)
#define PAGE ((uintptr_t)4096)

static void *freed[SIZES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void
heap_lock(void)
{
    pthread_mutex_lock(&lock);
}

void
heap_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* The smallest size class that holds `bytes`, and its size in bytes. */
static uint32
class_of(uint64 bytes, uint64 *size)
{
    uint32 shift, steps;

    if (bytes <= 128) {
        steps = bytes <= 32 ? 1 : (uint32)((bytes - 1) / 16);
        *size = (uint64)(steps + 1) * 16;
        return steps;
    }
    shift = 60 - (uint32)__builtin_clzll(bytes - 1);
    steps = (uint32)((bytes - 1) >> shift);
    *size = (uint64)(steps + 1) << shift;
    return 8 + (shift - 4) * 8 + (steps - 8);
}

static uint64
size_of(uint32 size_class)
{
    if (size_class < 8)
        return (uint64)(size_class + 1) * 16;
    return (uint64)((size_class - 8) % 8 + 9) << ((size_class - 8) / 8 + 4);
}

static header *
header_of(void *payload)
{
    return (header *)payload - 1;
}

/* A block where the kernel puts it, once the range is used up. */
static void *
block_outside(uint64 size)
{
    char *mapped = mmap(NULL, size + 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mapped == MAP_FAILED)
        return NULL;
    window_count_outside();
    return mapped + 8;
}

void *
heap_malloc(unsigned int wanted)
{
    uint64 size;
    uint32 size_class = class_of((uint64)wanted + sizeof(header), &size);
    void *payload;
    header *block;

    heap_lock();
    payload = freed[size_class];
    if (payload) {
        freed[size_class] = *(void **)payload;
    }
    else {
        block = window_lower(size);
        if (!block)
            block = block_outside(size);
        if (block) {
            block->size_class = size_class;
            payload = block + 1;
        }
    }
    heap_unlock();
    return payload;
}

void
heap_free(void *payload)
{
    uint32 size_class;
    uintptr_t first, end;

    if (!payload)
        return;
    size_class = (uint32)header_of(payload)->size_class;
    if (size_of(size_class) >= LARGE) {
        /* The link below stays in the page of the header, or in the one after it. */
        first = ((uintptr_t)payload + sizeof(void *) + PAGE - 1) & ~(PAGE - 1);
        end = ((uintptr_t)header_of(payload) + size_of(size_class)) & ~(PAGE - 1);
        madvise((void *)first, end - first, MADV_DONTNEED);
    }
    heap_lock();
    *(void **)payload = freed[size_class];
    freed[size_class] = payload;
    heap_unlock();
}

void *
heap_realloc(void *old, unsigned int wanted)
{
    uint64 room;
    void *new;

    if (!old)
        return heap_malloc(wanted);
    room = size_of((uint32)header_of(old)->size_class) - sizeof(header);
    if (wanted <= room)
        return old;
    new = heap_malloc(wanted);
    if (new) {
        memcpy(new, old, room);
        heap_free(old);
    }
    return new;
}

void
glue_heap_settle(void)
{
    heap_lock();
    memset(freed, 0, sizeof(freed));
    window_new_page();
    heap_unlock();
}
