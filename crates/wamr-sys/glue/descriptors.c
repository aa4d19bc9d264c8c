/* WAMR keeps a guest's table of descriptors to itself, in posix.c. This file takes the place of that one in the
 * build (cmake/platform.cmake): it is all of it, and a door to the table for glue/sockets.c. */

#include "posix.c"

#include "descriptors.h"

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
