// C++'s memory: a heap for a process that has one thread, ends soon, and asks for millions of small blocks.
//
// The C library's heap takes a seventh of a quick compile, most of it to merge and split again what LLVM frees and asks for
// again at once. Here a freed block waits for the next of its size. What is large goes to the C library.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <sys/mman.h>
#include <sys/single_threaded.h>

namespace {

// Address space, not memory. More small blocks than that go to the C library.
constexpr size_t ARENA = size_t{ 8 } << 30;
// All blocks of a span have one size.
constexpr size_t SPAN = 64 << 10;
// Sizes are multiples of this, which is also what every block is aligned to.
constexpr size_t STEP = 16;
constexpr size_t LARGEST = 1024;
constexpr size_t HUGE_PAGE = 2 << 20;

struct Free {
    Free *next;
};

// The blocks of one size: those that were given back, and those that nobody has had yet.
struct Size {
    Free *free;
    char *fresh;
    char *end;
};

Size sizes[LARGEST / STEP + 1];
uint8_t size_of_span[ARENA / SPAN];
char *arena;
size_t spans;
bool unavailable;

bool
reserve()
{
    // With room to begin at a huge page's bounds: fewer faults, and fewer misses in the processor's tables.
    void *start = mmap(nullptr, ARENA + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED)
        return false;
    arena = reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(start) + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    // Only a wish: without, it is slower.
    madvise(arena, ARENA, MADV_HUGEPAGE);
    return true;
}

bool
add_span(size_t number)
{
    if (unavailable || spans == ARENA / SPAN)
        return false;
    if (!arena && !reserve()) {
        unavailable = true;
        return false;
    }
    size_of_span[spans] = static_cast<uint8_t>(number);
    sizes[number].fresh = arena + spans * SPAN;
    sizes[number].end = sizes[number].fresh + SPAN;
    spans++;
    return true;
}

void *
large(size_t size, size_t alignment)
{
    void *block = alignment > STEP ? aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1)) : malloc(size);

    if (!block)
        throw std::bad_alloc();
    return block;
}

inline void *
take(size_t size, size_t alignment)
{
    size_t number = size ? (size + STEP - 1) / STEP : 1;

    if (number > LARGEST / STEP || alignment > STEP || !__libc_single_threaded)
        return large(size ? size : 1, alignment);
    Size &own = sizes[number];
    if (Free *block = own.free) {
        own.free = block->next;
        return block;
    }
    size_t bytes = number * STEP;
    if (static_cast<size_t>(own.end - own.fresh) < bytes && !add_span(number))
        return large(size, alignment);
    char *block = own.fresh;
    own.fresh += bytes;
    return block;
}

inline void
give(void *pointer)
{
    uintptr_t offset = reinterpret_cast<uintptr_t>(pointer) - reinterpret_cast<uintptr_t>(arena);

    if (!arena || offset >= ARENA) {
        free(pointer);
        return;
    }
    // Of more than one thread, none gives anything back to lists that all would share.
    if (!__libc_single_threaded)
        return;
    Size &own = sizes[size_of_span[offset / SPAN]];
    Free *block = static_cast<Free *>(pointer);
    block->next = own.free;
    own.free = block;
}

} // namespace

// The other forms of both are the library's, which call these.

void *
operator new(size_t size)
{
    return take(size, STEP);
}

void *
operator new(size_t size, std::align_val_t alignment)
{
    return take(size, static_cast<size_t>(alignment));
}

void
operator delete(void *block) noexcept
{
    give(block);
}

void
operator delete(void *block, std::align_val_t) noexcept
{
    give(block);
}
