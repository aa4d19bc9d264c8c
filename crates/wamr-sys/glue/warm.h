/* What WASI's functions tell warm.c. */
#ifndef WARM_H
#define WARM_H

#include "wasm_runtime.h"
#include "wasmtime_ssp.h"

/* Whether a guest runs that has yet to come to its ready point. */
bool
warm_on_its_way(void);

/* Remembers, while such a guest runs, that no copies of it can be made because of what it did. `what` is a format for
 * one string. */
void
warm_refuse(const char *what, const char *name);

/* Whether the path is that of the file by which a guest says that it is ready. The call returns in its copies. */
bool
warm_filestat(wasm_exec_env_t exec_env, WASIContext *context, const char *path, uint32 length,
              __wasi_filestat_t *stat);

#endif
