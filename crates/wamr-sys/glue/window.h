/* Between window.c and heap.c. */
#ifndef WINDOW_H
#define WINDOW_H

#include <stddef.h>

/* Reserves the range, once. Without one everything lies where the kernel puts it. */
void
window_reserve(void);

/* The next `size` bytes, a multiple of 16, below what is in use; NULL when the range is used up. Holding the heap's
 * lock. The result is 8 below a multiple of 16. */
void *
window_lower(size_t size);

/* What is taken next begins on a page of its own. */
void
window_new_page(void);

/* There is one more mapping outside the range. */
void
window_count_outside(void);

/* heap.c */

void
heap_lock(void);
void
heap_unlock(void);

void *
heap_malloc(unsigned int size);
void *
heap_realloc(void *old, unsigned int size);
void
heap_free(void *payload);

#endif
