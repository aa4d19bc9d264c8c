/*
 * What this project needs of WAMR and its public API does not offer. Compiled into the same library with
 * the same settings (cmake/platform.cmake), so no structure can be understood in two ways.
 */
#ifndef GLUE_H
#define GLUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wasm_export.h"

/* engine.c */

/* Initialises WAMR on the calling thread. `wakeup_signal` interrupts blocking calls of guest threads. */
bool
glue_engine_init(int wakeup_signal, uint32_t max_threads);

/* instance.c */

typedef struct glue_memory_limits {
    uint64_t initial_bytes;
    uint64_t max_bytes;
    bool shared;
} glue_memory_limits;

/* Limits of the module's memory as loaded; false when it has none. */
bool
glue_module_memory(wasm_module_t module, glue_memory_limits *limits);

/* Instantiates without running any guest code, not even a start function. */
wasm_module_inst_t
glue_instantiate(wasm_module_t module, uint32_t stack_size, char *error, uint32_t error_size);

/* Runs the start function, if the module has one. False: see the instance's exception. */
bool
glue_run_start_function(wasm_module_inst_t instance, wasm_exec_env_t exec_env);

/* The execution environment of the instance's main thread; made on the first call. */
wasm_exec_env_t
glue_exec_env(wasm_module_inst_t instance);

/* Size of the linear memory, 0 without one. */
uint64_t
glue_memory_bytes(wasm_module_inst_t instance);

/* Lets `memory.grow` go no further than `bytes`, nor than the module's own maximum. */
void
glue_cap_memory(wasm_module_inst_t instance, uint64_t bytes);

/* Where the cap on the default memory lies, for a process that may write to this one's memory while it runs: a
   32-bit number of pages of `bytes_per_page` each, of which the module itself allows `most_pages`. */
typedef struct glue_memory_cap_place {
    uint64_t address;
    uint64_t bytes_per_page;
    uint64_t most_pages;
} glue_memory_cap_place;

bool
glue_memory_cap(wasm_module_inst_t instance, glue_memory_cap_place *place);

/* Number of frames of the trap that the instance's exception tells of. */
uint32_t
glue_trap_depth(wasm_exec_env_t exec_env);

/* Function index and name (NULL: unknown) of a frame, 0 being where the trap happened. */
bool
glue_trap_frame(wasm_exec_env_t exec_env, uint32_t frame, uint32_t *function, const char **name);

/* window.c, heap.c: the range of addresses that holds all that loading and instantiation leave behind */

typedef struct glue_window_state {
    uintptr_t bottom;
    /* From here up to `linear` the heap can be written to. */
    uintptr_t accessible;
    /* Where the linear memory is or will be; 0 if no range could be reserved. */
    uintptr_t linear;
    bool linear_taken;
    /* Mappings of WAMR's that are not in the range. */
    uint32_t outside;
} glue_window_state;

void
glue_window(glue_window_state *state);

/* Whole pages of the range to map `size` bytes of something over; NULL when there is no room. Never given back. */
void *
glue_place(size_t size);

/* Forgets the blocks that are free; the next ones come from pages that nothing was in. */
void
glue_heap_settle(void);

/* image.c */

typedef struct glue_range {
    char *start;
    char *end;
} glue_range;

/* Where the variables of WAMR and of the glue are. */
void
glue_variables(glue_range ranges[2]);

/* The functions' code in the module's bytes, which the fast interpreter never looks at again once loaded. */
glue_range
glue_spent_code(wasm_module_t module);

/* code.c */

/* The pages of the loaded module's compiled code, which can be read and not be executed yet; empty without any. */
glue_range
glue_code(void);

/* wasi.c */

/* Leaves the instance without a WASI context. */
void
glue_wasi_drop(wasm_module_inst_t instance);

/* Gives the instance a WASI context of its own instead of the present one. Strings are copied; the
 * descriptors stay the caller's. On failure it is left without any, and every WASI call fails. */
bool
glue_wasi_replace(wasm_module_inst_t instance, const char **args, uint32_t arg_count, const char **env,
                  uint32_t env_count, const int stdio[3], char *error, uint32_t error_size);

/* Makes directory `host_fd` the guest's descriptor `guest_fd`. Takes `host_fd` on success. */
bool
glue_wasi_preopen(wasm_module_inst_t instance, uint32_t guest_fd, const char *guest_name, int host_fd,
                  bool read_only);

/* Makes the socket `host_fd` the guest's descriptor `guest_fd`. Takes `host_fd` on success. */
bool
glue_wasi_socket(wasm_module_inst_t instance, uint32_t guest_fd, int host_fd);

/* The code given to `proc_exit`. */
uint32_t
glue_wasi_exit_code(wasm_module_inst_t instance);

/* Replaces some of WAMR's WASI functions. Called once by glue_engine_init. */
bool
glue_wasi_register(void);

/* warm.c */

/* The name of the file by whose state, in whichever directory, a guest asks to say that it is ready. */
#define GLUE_WARM_READY_FILE ".warm-start"

typedef struct glue_warm_run {
    wasm_module_inst_t instance;
    wasm_exec_env_t exec_env;
    /* Called before the entry; may be NULL. */
    wasm_function_inst_t initialize;
    wasm_function_inst_t entry;
    /* Of the entry. */
    uint32_t result_count;
} glue_warm_run;

typedef enum glue_warm_outcome {
    /* The guest did not run. */
    GLUE_WARM_NO_MEMORY,
    /* It stands at its ready point. */
    GLUE_WARM_READY,
    /* It is over, and see glue_warm_results. */
    GLUE_WARM_RETURNED,
    /* It is over, and see the instance's exception. */
    GLUE_WARM_FAILED,
} glue_warm_outcome;

/* Runs the start function and the rest on a stack in the range, until the guest is ready or over. Once per process. */
glue_warm_outcome
glue_warm_begin(const glue_warm_run *run);

/* Goes on with a guest at its ready point, in a process that mapped its image and gave it a WASI context. */
glue_warm_outcome
glue_warm_resume(void);

/* Why no copies can be made of the guest that was begun; empty if they can. */
const char *
glue_warm_refusal(void);

/* Cells of the entry's results. */
const uint32_t *
glue_warm_results(void);

/* Pages of the range that cannot be read; empty without a stack in it. */
glue_range
glue_warm_guard(void);

/* sockets.c */

/* What a guest wants with an address: talk to it, or be there. */
typedef enum glue_socket_use { GLUE_SOCKET_CONNECT, GLUE_SOCKET_BIND } glue_socket_use;

/* Whether the guest may. The address has 4 bytes or 16, in network order. Called by any thread of the guest. */
typedef bool
glue_socket_allowed(glue_socket_use use, const uint8_t *address, uint32_t length, uint16_t port);

typedef enum glue_family { GLUE_FAMILY_ANY, GLUE_FAMILY_V4, GLUE_FAMILY_V6 } glue_family;

/* 4 bytes or 16, in network order. */
typedef struct glue_name_address {
    uint8_t length;
    uint8_t bytes[16];
} glue_name_address;

#define GLUE_MOST_ADDRESSES 64

typedef struct glue_names {
    /* -1: the service has none. */
    int32_t tcp_port;
    int32_t udp_port;
    uint32_t count;
    glue_name_address addresses[GLUE_MOST_ADDRESSES];
} glue_names;

/* Addresses of a host and ports of a service. Returns 0, also when the host does not exist, or an errno. While it waits,
 * a signal makes it ask `stopped(context)` whether to go on. */
typedef int
glue_resolve(const char *host, const char *service, glue_family family, bool (*stopped)(void *), void *context,
             glue_names *found);

/* For all guests of this process. Until then nothing is allowed but what the guest was given. */
void
glue_sockets_set_network(glue_socket_allowed *allowed, glue_resolve *resolve);

/* Replaces WAMR's socket functions. Called once by glue_engine_init. */
bool
glue_sockets_register(void);

#endif
