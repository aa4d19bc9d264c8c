// dirty MEBIBYTES [stay]: writes to each page of that much memory.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    long mebibytes = argc > 1 ? atol(argv[1]) : 1;
    for (long i = 0; i < mebibytes; i++) {
        // Volatile, or the compiler does without memory nobody reads.
        volatile char *block = malloc(1 << 20);
        if (!block) {
            printf("malloc failed after %ld MiB\n", i);
            return 3;
        }
        for (long at = 0; at < 1 << 20; at += 4096)
            block[at] = 1;
    }
    printf("dirtied %ld MiB\n", mebibytes);
    fflush(stdout);
    while (argc > 2)
        sleep(3600);
    return 0;
}
