/* Between the files of this folder. */
#ifndef GLUE_H
#define GLUE_H

#include <stdbool.h>
#include <stdint.h>

#include <llvm-c/Types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct AOTCompContext;

/* translate.c: LLVM's IR of the functions from `from` up to `to`; the others are without a body then. */
bool
aotc_translate(struct AOTCompContext *context, uint32_t from, uint32_t to);

/* llvm.cpp: makes a function one that is defined elsewhere. */
void
aotc_drop_body(LLVMValueRef function);

/* llvm.cpp: whether any call is in tail position. WAMR marks those that wasm has there, and no others. */
bool
aotc_has_tail_calls(LLVMModuleRef module);

/* llvm.cpp: sets flags of the code generator, and all others to what they are without. */
void
aotc_set_flags(const char *flags);

#ifdef __cplusplus
}
#endif

#endif
