// wait spin | sleep | poll: never ends by itself. Says "ready" first.
// wait ticks COUNT MILLISECONDS CODE: numbered lines with a pause after each, then ends with CODE.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "sleep";
    puts("ready");
    fflush(stdout);
    if (!strcmp(how, "ticks")) {
        long pause = atol(argv[3]);
        struct timespec time = {pause / 1000, pause % 1000 * 1000000};
        for (long i = 0; i < atol(argv[2]); i++) {
            printf("tick %ld\n", i);
            fflush(stdout);
            nanosleep(&time, NULL);
        }
        return atoi(argv[4]);
    }
    volatile unsigned long turns = 0;
    while (!strcmp(how, "spin"))
        turns++;
    while (!strcmp(how, "poll")) {
        struct pollfd input = {.fd = 0, .events = POLLIN};
        poll(&input, 1, 3600 * 1000);
    }
    for (;;)
        sleep(3600);
}
