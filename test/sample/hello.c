// The guest of `make run`: says hello, stays as long as its input is open, ends with a code of its own.
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    printf("hello from WebAssembly, compiled from C\n");
    for (int i = 0; i < argc; i++)
        printf("  argv[%d] = %s\n", i, argv[i]);
    fflush(stdout);
    sleep(argc > 1 ? 3 : 0);
    printf("goodbye\n");
    return 42;
}
