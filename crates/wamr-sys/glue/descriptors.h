/* A guest's table of descriptors. */
#ifndef GLUE_DESCRIPTORS_H
#define GLUE_DESCRIPTORS_H

#include "posix.h"
#include "wasmtime_ssp.h"

/* One entry, which stays open until it is released although another thread may close it. */
typedef struct glue_descriptor {
    struct fd_object *object;
    int host_fd;
} glue_descriptor;

/* Fails with EBADF, or with ENOTCAPABLE for want of one of the rights. */
__wasi_errno_t
glue_descriptor_get(struct fd_table *table, __wasi_fd_t fd, __wasi_rights_t rights,
                    glue_descriptor *descriptor);

/* Keeps errno. */
void
glue_descriptor_release(wasm_exec_env_t exec_env, glue_descriptor *descriptor);

/* Takes the socket, also when it fails. */
__wasi_errno_t
glue_descriptor_add_socket(wasm_exec_env_t exec_env, struct fd_table *table, int host_fd, bool stream,
                           __wasi_fd_t *fd);

/* What a table held at one time. */
typedef struct glue_descriptor_table glue_descriptor_table;

/* NULL without memory. Never freed. */
glue_descriptor_table *
glue_descriptors_remember(struct fd_table *table);

/* Gives the sockets of a table the flags that those in their places had. */
void
glue_descriptors_set_flags(const glue_descriptor_table *then, struct fd_table *table);

/* What was done to the table since, beside to the flags of sockets, as the end of a sentence about the guest; NULL if a new table of the same files is as good. */
const char *
glue_descriptors_changed(const glue_descriptor_table *then, struct fd_table *table);

#endif
