// Traps three calls deep; the name section tells which.
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) static int innermost(int how, volatile int *zero) {
    if (how == 0)
        __builtin_trap();
    if (how == 1)
        return 100 / *zero;
    return *(volatile int *)0xfffffff0;
}

__attribute__((noinline)) static int middle(int how, volatile int *zero) {
    return innermost(how, zero) + 1;
}

__attribute__((noinline)) static int outermost(int how, volatile int *zero) {
    return middle(how, zero) + 1;
}

int main(int argc, char **argv) {
    volatile int zero = 0;
    puts("before the trap");
    fflush(stdout);
    int how = argc < 2 ? 0 : strcmp(argv[1], "divide") == 0 ? 1 : strcmp(argv[1], "memory") == 0 ? 2 : 0;
    return outermost(how, &zero);
}
