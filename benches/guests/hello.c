// What a container of the benchmark is: one line, then asleep for good, as `sh -c 'echo hello; exec sleep 1d'`.
#include <poll.h>
#include <stdio.h>

int main(void) {
    puts("hello");
    fflush(stdout);
    for (;;)
        poll(NULL, 0, 24 * 3600 * 1000);
}
