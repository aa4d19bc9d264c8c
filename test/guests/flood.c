// flood MEGABYTES: that many times 10^6 bytes, as numbered lines of ten bytes.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char block[65536 * 10];
    long lines = (argc > 1 ? atol(argv[1]) : 1) * 100000;
    for (long line = 0; line < lines;) {
        size_t used = 0;
        for (; line < lines && used + 10 <= sizeof block; line++, used += 10) {
            long rest = line;
            for (int digit = 8; digit >= 0; digit--, rest /= 10)
                block[used + digit] = '0' + rest % 10;
            block[used + 9] = '\n';
        }
        for (size_t sent = 0; sent < used;) {
            ssize_t n = write(1, block + sent, used - sent);
            if (n <= 0)
                return 98;
            sent += n;
        }
    }
    return 0;
}
