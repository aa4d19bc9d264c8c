/* What the kernels share: input that is the same everywhere, and a result that shows that the work was done. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t kernel_state = 2463534242u;

/* Marsaglia's xorshift. */
static inline uint32_t
next_number(void)
{
    kernel_state ^= kernel_state << 13;
    kernel_state ^= kernel_state >> 17;
    kernel_state ^= kernel_state << 5;
    return kernel_state;
}

/* From 0 up to 1. */
static inline double
next_fraction(void)
{
    return next_number() / 4294967296.0;
}

/* Bits, not digits: all who run it must agree on every one. */
static inline void
report(const void *bytes, size_t count)
{
    const unsigned char *byte = bytes;
    uint64_t digest = 14695981039346656037u;

    for (size_t i = 0; i < count; i++)
        digest = (digest ^ byte[i]) * 1099511628211u;
    printf("%016llx\n", (unsigned long long)digest);
}

#endif
