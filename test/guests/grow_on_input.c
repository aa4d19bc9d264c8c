// For each byte of input: grows linear memory until that fails, then says how many pages it has.
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char byte;
    puts("ready");
    fflush(stdout);
    while (read(0, &byte, 1) == 1) {
        while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1)
            ;
        printf("pages %zu\n", __builtin_wasm_memory_size(0));
        fflush(stdout);
    }
    return 0;
}
