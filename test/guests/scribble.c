// scribble WORD: says whether anything but itself has ever written to its memory, writes WORD all over it, and
// holds it. On a line of input it says what it finds then.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (256 * 1024)
static char zeros[SIZE];
static char text[SIZE] = "as built";

static int only(const char *bytes, char byte, int from) {
    for (int i = from; i < SIZE; i++)
        if (bytes[i] != byte)
            return 0;
    return 1;
}

int main(int argc, char **argv) {
    char byte = argv[1][0], line[16];
    int clean = only(zeros, 0, 0) && !strcmp(text, "as built") && only(text, 0, 8);
    char *heap = malloc(SIZE);
    printf("%s\n", clean && heap ? "clean" : "DIRTY");
    memset(zeros, byte, SIZE);
    memset(text, byte, SIZE);
    memset(heap, byte, SIZE);
    fflush(stdout);
    read(0, line, sizeof(line));
    printf("%s\n", only(zeros, byte, 0) && only(text, byte, 0) && only(heap, byte, 0) ? "mine" : "ANOTHER'S");
    return 0;
}
