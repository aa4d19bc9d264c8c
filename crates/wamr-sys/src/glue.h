/* What WAMR's public API lacks, over its internal headers. */
#ifndef WAMR_GLUE_H
#define WAMR_GLUE_H

#include <stdbool.h>
#include <stdint.h>

#include "wasm_export.h"

/* A directory handed to the guest. */
typedef struct wamr_glue_preopen {
    const char *guest; /* name the guest sees */
    const char *host;  /* path in this process's file system */
    bool read_only;
} wamr_glue_preopen;

/* Prepares the calling thread for hardware bound checks: touches its stack, installs its signal handlers. */
bool
wamr_glue_init_thread(void);

/* The signal WAMR may use to wake a thread out of a blocking call. */
void
wamr_glue_set_wakeup_signal(int signal);

/* Linear memory 0: present and largest number of 64 KiB pages; false when the module has none. */
bool
wamr_glue_memory_pages(wasm_module_inst_t instance, uint32_t *present, uint32_t *most);

/* Lowers or raises the number of pages `memory.grow` may reach; false when it is below the present one. */
bool
wamr_glue_cap_memory(wasm_module_inst_t instance, uint32_t most);

/* Replaces the instance's WASI context. Everything is copied. */
bool
wamr_glue_set_wasi(wasm_module_inst_t instance, const char *argv[], uint32_t argc, const char *env[],
                   uint32_t env_count, const wamr_glue_preopen *preopens, uint32_t preopen_count,
                   const int stdio[3], char *error, uint32_t error_size);

#endif
