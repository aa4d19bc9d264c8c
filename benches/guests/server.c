// A server without a network: says a line, then answers each line of stdin with the same line.
#include <stdio.h>

int main(void) {
    static char line[4096];
    puts("hello");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        fputs(line, stdout);
        fflush(stdout);
    }
    return 0;
}
