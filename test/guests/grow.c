// Grows linear memory until that fails, then says how many pages it has and that it still runs.
#include <stdio.h>

int main(void) {
    while (__builtin_wasm_memory_grow(0, 16) != (size_t)-1)
        ;
    while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1)
        ;
    printf("pages %zu\n", __builtin_wasm_memory_size(0));
    return 0;
}
