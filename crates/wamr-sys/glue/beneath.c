/*
 * WAMR resolves a guest's path itself, component by component, and then hands the last component to the
 * kernel. Where the guest asked for links to be followed, WAMR asks the kernel to follow one there too,
 * although none is left; nor may there be one left before a trailing slash. A second guest thread can put
 * a link there in between, and the kernel would follow it out of the preopened directory. So the calls
 * below, which replace the C library's in WAMR's posix_file.c, never follow the last component.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "warm.h"

struct component {
    char bytes[NAME_MAX + 2];
    bool slash;
};

/* The kernel follows "link/" whatever the flags say, so the slash is taken off. */
static bool
take_component(const char *path, struct component *name)
{
    size_t length = strlen(path);

    name->slash = length > 1 && path[length - 1] == '/';
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length >= sizeof(name->bytes)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(name->bytes, path, length);
    name->bytes[length] = '\0';
    return true;
}

/* For a guest on its way to its ready point: what its container has mounted is not there yet. In its places are files that
 * cannot be opened and directories that can be opened and not be searched. */
static int
refuse_unsearchable(int opened)
{
    struct stat stat;
    int inside;

    if (opened < 0 || fstat(opened, &stat) < 0 || !S_ISDIR(stat.st_mode))
        return opened;
    inside = openat(opened, ".", O_PATH | O_CLOEXEC);
    if (inside < 0) {
        close(opened);
        errno = EACCES;
        return -1;
    }
    close(inside);
    return opened;
}

int
glue_openat(int directory, const char *path, int flags, ...)
{
    va_list rest;
    mode_t mode;
    struct component name;
    int opened;

    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
    if (!take_component(path, &name))
        return -1;
    opened = openat(directory, name.bytes, flags | O_NOFOLLOW | O_CLOEXEC | (name.slash ? O_DIRECTORY : 0), mode);
    if (warm_on_its_way()) {
        opened = refuse_unsearchable(opened);
        if (opened < 0 && errno == EACCES)
            warm_refuse("it opened %s, which is a volume or not its own", name.bytes);
    }
    return opened;
}

int
glue_linkat(int from, const char *path, int to, const char *new_path, int flags)
{
    struct component name;

    if (!take_component(path, &name))
        return -1;
    return linkat(from, name.bytes, to, new_path, flags & ~AT_SYMLINK_FOLLOW);
}

int
glue_fstatat(int directory, const char *path, struct stat *stat, int flags)
{
    struct component name;

    if (!take_component(path, &name) || fstatat(directory, name.bytes, stat, flags | AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (name.slash && !S_ISDIR(stat->st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    return 0;
}

int
glue_utimensat(int directory, const char *path, const struct timespec times[2], int flags)
{
    struct component name;

    if (!take_component(path, &name))
        return -1;
    return utimensat(directory, name.bytes, times, flags | AT_SYMLINK_NOFOLLOW);
}
