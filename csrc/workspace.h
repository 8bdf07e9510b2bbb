/* Memory for work space, kept from one call to the next: the system's zeroing of fresh pages costs a small layer more
 * than its products. At most one piece is kept, and none above a bound, so memory does not grow with the shapes seen. */
#ifndef TIDEGATE_WORKSPACE_H
#define TIDEGATE_WORKSPACE_H

#include <stddef.h>

/* At least `size` bytes at an address that is a multiple of 64, of any content; NULL where there is not enough memory. */
void *tidegate_workspace_take(size_t size);
/* Hand back what take returned; NULL is nothing. */
void tidegate_workspace_give(void *memory);

#endif
