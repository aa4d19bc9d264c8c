// For each line with a number on stdin: takes that many mebibytes more, writes to each page, says "has SUM" or "refused".
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    static char line[64];
    long sum = 0;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        long bytes = atol(line) << 20;
        // Volatile, or the compiler does without memory nobody reads.
        volatile char *block = malloc(bytes);
        for (long at = 0; block && at < bytes; at += 4096)
            block[at] = 1;
        if (block)
            printf("has %ld\n", sum += bytes >> 20);
        else
            puts("refused");
        fflush(stdout);
    }
    return 0;
}
