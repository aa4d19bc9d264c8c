// The guest of `make run`: says hello, stays as long as its input is open, ends with a code of its own.
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    printf("hello from WebAssembly, compiled from C\n");
    for (int i = 1; i < argc; i++)
        printf("argument %d is \"%s\"\n", i, argv[i]);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    printf("my input ended, goodbye\n");
    return 42;
}
