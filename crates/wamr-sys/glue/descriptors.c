/* WAMR keeps a guest's table of descriptors to itself, in posix.c. This file takes the place of that one in the
 * build (cmake/platform.cmake): it is all of it, and a door to the table for glue/sockets.c and glue/warm.c. */

#include "posix.c"

#include "descriptors.h"

#include "glue.h"
#include "window.h"

__wasi_errno_t
glue_descriptor_get(struct fd_table *table, __wasi_fd_t fd, __wasi_rights_t rights,
                    glue_descriptor *descriptor)
{
    struct fd_object *object = NULL;
    __wasi_errno_t error = fd_object_get(table, &object, fd, rights, 0);

    if (error)
        return error;
    descriptor->object = object;
    descriptor->host_fd = object->file_handle;
    return 0;
}

void
glue_descriptor_release(wasm_exec_env_t exec_env, glue_descriptor *descriptor)
{
    fd_object_release(exec_env, descriptor->object);
}

__wasi_errno_t
glue_descriptor_add_socket(wasm_exec_env_t exec_env, struct fd_table *table, int host_fd, bool stream,
                           __wasi_fd_t *fd)
{
    __wasi_filetype_t type = stream ? __WASI_FILETYPE_SOCKET_STREAM : __WASI_FILETYPE_SOCKET_DGRAM;

    return fd_table_insert_fd(exec_env, table, host_fd, type, RIGHTS_SOCKET_BASE, RIGHTS_SOCKET_INHERITING, fd);
}

struct glue_descriptor_table {
    size_t size;
    struct {
        struct fd_entry entry;
        int flags;
    } entries[];
};

glue_descriptor_table *
glue_descriptors_remember(struct fd_table *table)
{
    glue_descriptor_table *then = heap_malloc(sizeof(*then) + (uint32)table->size * sizeof(then->entries[0]));

    if (!then)
        return NULL;
    then->size = table->size;
    for (size_t i = 0; i < table->size; i++) {
        struct fd_object *object = table->entries[i].object;
        then->entries[i].entry = table->entries[i];
        then->entries[i].flags = object ? fcntl(object->file_handle, F_GETFL) : 0;
    }
    return then;
}

static bool
is_socket(const struct fd_object *object)
{
    return object->type == __WASI_FILETYPE_SOCKET_STREAM || object->type == __WASI_FILETYPE_SOCKET_DGRAM;
}

void
glue_descriptors_set_flags(const glue_descriptor_table *then, struct fd_table *table)
{
    for (size_t i = 0; i < table->size && i < then->size; i++) {
        struct fd_object *object = table->entries[i].object;
        if (object && is_socket(object))
            fcntl(object->file_handle, F_SETFL, then->entries[i].flags);
    }
}

const char *
glue_descriptors_changed(const glue_descriptor_table *then, struct fd_table *table)
{
    static const struct fd_entry none;

    for (size_t i = 0; i < table->size; i++) {
        struct fd_entry *now = &table->entries[i];
        const struct fd_entry *before = i < then->size ? &then->entries[i].entry : &none;

        if (now->object && !before->object)
            return "has a file open";
        if (now->object != before->object)
            return "closed or replaced a descriptor that it was given";
        if (!now->object)
            continue;
        if (now->rights_base != before->rights_base || now->rights_inheriting != before->rights_inheriting)
            return "gave up rights of a descriptor that it was given";
        if (!is_socket(now->object) && fcntl(now->object->file_handle, F_GETFL) != then->entries[i].flags)
            return "changed the flags of a descriptor that it was given";
        if (now->object->type == __WASI_FILETYPE_DIRECTORY
            && os_is_dir_stream_valid(&now->object->directory.handle))
            return "is reading a directory that it was given";
    }
    return NULL;
}
