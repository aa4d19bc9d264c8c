/* WAMR's compiler in the steps that make it possible to compile a module's functions in several processes. */
#ifndef AOTC_H
#define AOTC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct aotc_options {
    /* LLVM's level for code generation: 0 to 3. */
    uint32_t level;
    /* LLVM's textual pass pipeline. */
    const char *passes;
    /* Flags of LLVM's code generator, as on the command line of llc, separated by spaces. */
    const char *flags;
    /* Address linear memory by the GS register (x86-64). */
    bool segue;
} aotc_options;

typedef enum aotc_outcome {
    AOTC_DONE,
    AOTC_REFUSED,
    /* Level 0 would let a chain of tail calls grow the stack. */
    AOTC_TAIL_CALLS,
} aotc_outcome;

/* A module that is being compiled. There is one at a time, in one thread. */
typedef struct aotc_module aotc_module;

/* Starts LLVM and WAMR; once per process. */
bool
aotc_init(void);

/* Loads a module and prepares to compile it for the processor this runs on. `wasm` is edited in place and must stay; so
 * must `options`. NULL if refused: then `error` says why, and ends with NUL, as in all of these. */
aotc_module *
aotc_open(uint8_t *wasm, uint32_t wasm_size, const aotc_options *options, char *error, uint32_t error_size);

/* How many functions it has, imported ones not counted; and the size of one in bytes of wasm. */
uint32_t
aotc_function_count(const aotc_module *module);
uint32_t
aotc_function_size(const aotc_module *module, uint32_t function);

/* Compiles the functions from `from` up to `to` to an ELF object, which is the module's and stays as long. Once per
 * module: afterwards it has no other functions. */
aotc_outcome
aotc_object(aotc_module *module, uint32_t from, uint32_t to, const uint8_t **object, uint64_t *object_size,
            char *error, uint32_t error_size);

/* Makes the AOT file of an object with all functions. On success `*aot` is to be given to aotc_free. */
aotc_outcome
aotc_finish(aotc_module *module, const uint8_t *object, uint64_t object_size, uint8_t **aot, uint32_t *aot_size,
            char *error, uint32_t error_size);

void
aotc_free(uint8_t *aot);

void
aotc_close(aotc_module *module);

#endif
