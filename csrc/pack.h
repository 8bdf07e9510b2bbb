/* Row-major arrays into blocks, and back. Columns beyond the real ones become zeros. */
#ifndef TIDEGATE_PACK_H
#define TIDEGATE_PACK_H

#include "simd.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

TIDEGATE_INLINE int64_t blocks_of(int64_t n) { return (n + BLOCK - 1) / BLOCK; }
TIDEGATE_INLINE int part_of(int64_t n, int64_t block) {
  const int64_t left = n - block * BLOCK;
  return static_cast<int>(left < BLOCK ? left : BLOCK);
}

/* Floats from one packed block of 16 columns, 16 · K16 long, to the next: 16 more than it holds, so that blocks which are
 * read side by side do not fall into the same sets of a cache. */
TIDEGATE_INLINE int64_t columns_apart(int64_t K16) { return (K16 * BLOCK + 1) * BLOCK; }

/* Rows of a row-major array (stride `from_row`) into the blocked rows form: column block kb goes to
 * to + kb · block + row · 16. */
static void pack_rows(const float *from, int64_t from_row, int64_t rows, int64_t columns, float *to, int64_t block) {
  const int64_t whole = columns / BLOCK;
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = from + r * from_row;
    for (int64_t k = 0; k < whole; ++k) store_block(to + k * block + r * BLOCK, load_block(row + k * BLOCK));
    if (whole * BLOCK < columns)
      store_block(to + whole * block + r * BLOCK, load_part(row + whole * BLOCK, static_cast<int>(columns - whole * BLOCK)));
  }
}

#if defined(__x86_64__)
TIDEGATE_INLINE void transpose4(const float *from, int64_t from_row, float *to) {
  __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + from_row), c = _mm_loadu_ps(from + 2 * from_row),
         d = _mm_loadu_ps(from + 3 * from_row);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(to, a), _mm_storeu_ps(to + BLOCK, b), _mm_storeu_ps(to + 2 * BLOCK, c), _mm_storeu_ps(to + 3 * BLOCK, d);
}
#else
TIDEGATE_INLINE void transpose4(const float *from, int64_t from_row, float *to) {
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) to[j * BLOCK + i] = from[i * from_row + j];
}
#endif

/* `rows` (1 … 16) rows of K columns become one block of columns: to[k · 16 + row]; K16 · 16 entries of k are written. */
static void pack_transposed(const float *from, int64_t from_row, int rows, int64_t K, int64_t K16, float *to) {
  int64_t k = 0;
  if (rows == BLOCK)
    for (; k + 4 <= K; k += 4)
      for (int r = 0; r < BLOCK; r += 4) transpose4(from + r * from_row + k, from_row, to + k * BLOCK + r);
  for (; k < K16 * BLOCK; ++k)
    for (int r = 0; r < BLOCK; ++r) to[k * BLOCK + r] = r < rows && k < K ? from[r * from_row + k] : 0.0f;
}

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
