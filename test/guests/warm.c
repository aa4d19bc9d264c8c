/* warm [WHAT [CODE]]: is slow to get ready, says that it is, tells whether it is a copy, and waits; with CODE it exits. Before
 * it is ready it does WHAT. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS (1 << 20)

static uint32_t table[WORDS];

static void before(const char *what)
{
    struct stat state;
    int fd;

    if (!strcmp(what, "print"))
        puts("early");
    if (!strcmp(what, "read"))
        getchar();
    if (!strcmp(what, "open"))
        open("/etc/motd", O_RDONLY);
    if (!strcmp(what, "volume"))
        fd = open("/data/file", O_RDONLY);
    if (!strcmp(what, "write"))
        fd = open("/made", O_WRONLY | O_CREAT, 0666);
    if (!strcmp(what, "hosts"))
        stat("/etc/hosts", &state), fd = open("/etc/hosts", O_RDONLY);
    if (!strcmp(what, "fail"))
        abort();
    if (!strcmp(what, "hang"))
        for (volatile int i = 0;; i++)
            ;
    (void)fd;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *host = getenv("HOSTNAME");
    struct stat state;
    uint32_t sum = 1, random;
    int copy;

    for (int round = 0; round < 8; round++)
        for (int i = 0; i < WORDS; i++)
            table[i] = sum = sum * 1664525 + 1013904223;
    before(what);
    copy = stat("/.warm-start", &state) == 0;
    if (getentropy(&random, sizeof(random)) != 0)
        return 1;
    printf("%s %08x host=%s random=%08x\n", copy ? "copy" : "cold", table[WORDS - 1], host ? host : "", random);
    fflush(stdout);
    if (!strcmp(what, "trap"))
        abort();
    if (argc > 2)
        return atoi(argv[2]);
    for (;;)
        sleep(1000);
}
