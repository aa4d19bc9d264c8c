/* One call around WAMR's compiler. */
#ifndef AOTC_H
#define AOTC_H

#include <stdbool.h>
#include <stdint.h>

typedef struct aotc_options {
    /* LLVM's level for code generation and, unless `passes` are given, for optimisation: 0 to 3. */
    uint32_t level;
    /* LLVM's textual pass pipeline to run instead of that of the level; null for none. */
    const char *passes;
    /* Address linear memory by the GS register (x86-64). */
    bool segue;
} aotc_options;

typedef enum aotc_outcome {
    AOTC_DONE,
    AOTC_REFUSED,
    /* Level 0 would let a chain of tail calls grow the stack. */
    AOTC_TAIL_CALLS,
} aotc_outcome;

/* Starts LLVM and WAMR; once per process. */
bool
aotc_init(void);

/* Compiles for the processor this runs on. `wasm` is edited in place. On success `*aot` is to be given to
 * aotc_free; if refused, `error` says why, and ends with NUL. */
aotc_outcome
aotc_compile(uint8_t *wasm, uint32_t wasm_size, const aotc_options *options, uint8_t **aot, uint32_t *aot_size,
             char *error, uint32_t error_size);

void
aotc_free(uint8_t *aot);

#endif
