// file read PATH | write PATH TEXT | append PATH MEBIBYTES | list DIR: prints what it got, or why not.
// file follow PATH: prints what it holds whenever that changes, until it holds "end".
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed(const char *path) {
    printf("%s: %s\n", path, strerror(errno));
    return 1;
}

static int show(const char *path) {
    static char buffer[4096];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return failed(path);
    ssize_t n;
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, n, stdout);
    return n < 0 ? failed(path) : 0;
}

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0)
        return failed(path);
    printf("wrote %s\n", path);
    return 0;
}

static int append(const char *path, long mebibytes) {
    static char block[65536];
    memset(block, 'x', sizeof block);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    if (fd < 0)
        return failed(path);
    for (long i = 0; i < mebibytes * 16; i++)
        if (write(fd, block, sizeof block) < 0)
            return failed(path);
    printf("wrote %ld MiB\n", mebibytes);
    return 0;
}

static int list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir)
        return failed(path);
    for (struct dirent *entry; (entry = readdir(dir));)
        puts(entry->d_name);
    return 0;
}

static int follow(const char *path) {
    char before[256] = "", now[256];
    do {
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            return failed(path);
        ssize_t n = read(fd, now, sizeof now - 1);
        close(fd);
        now[n < 0 ? 0 : n] = 0;
        if (strcmp(before, now)) {
            printf("now %s\n", now);
            fflush(stdout);
            strcpy(before, now);
        }
        usleep(20000);
    } while (strcmp(now, "end"));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "read"))
        return show(argv[2]);
    if (argc == 4 && !strcmp(argv[1], "write"))
        return put(argv[2], argv[3]);
    if (argc == 4 && !strcmp(argv[1], "append"))
        return append(argv[2], atol(argv[3]));
    if (argc == 3 && !strcmp(argv[1], "list"))
        return list(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "follow"))
        return follow(argv[2]);
    return 99;
}
