/* Memory that is kept from one call to the next: the system zeroes every fresh page, and that costs a small layer more than
 * its products. Work space comes from here, and so do the arrays that a caller asks the binding for.
 *
 * What is kept is bounded, to 512 MiB in all (about that where many threads are at work), and a piece that nobody takes
 * again is freed when 64 others have been handed back: memory does not grow with the shapes seen. Callers on several threads
 * never wait for each other. */
#ifndef TIDEGATE_MEMORY_H
#define TIDEGATE_MEMORY_H

#include <stddef.h>

/* At least `size` bytes at an address that is a multiple of 64, of any content; NULL where there is not enough memory. */
void *tidegate_memory_take(size_t size);
/* Hand back what take returned, on any thread; NULL is nothing. */
void tidegate_memory_give(void *memory);

#endif
