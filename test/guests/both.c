// Ten lines to stdout and ten to stderr, in turns.
#include <stdio.h>

int main(void) {
    for (int i = 0; i < 10; i++) {
        fprintf(stdout, "out %d\n", i);
        fflush(stdout);
        fprintf(stderr, "err %d\n", i);
    }
    return 0;
}
