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

#if defined(__AVX512F__)
/* 16 rows by 16 columns, every row read as one vector: four rounds that interleave pairs of rows 1, 2, 4 and 8 apart. */
TIDEGATE_INLINE void transpose16(const float *from, int64_t from_row, float *to) {
  __m512 a[BLOCK], b[BLOCK];
  TIDEGATE_UNROLL for (int r = 0; r < BLOCK; ++r) a[r] = _mm512_loadu_ps(from + r * from_row);
  TIDEGATE_UNROLL for (int r = 0; r < BLOCK; r += 2) {
    b[r] = _mm512_unpacklo_ps(a[r], a[r + 1]);
    b[r + 1] = _mm512_unpackhi_ps(a[r], a[r + 1]);
  }
  /* a[4g + j]: in each of its four quarters q, rows 4g … 4g + 3 of column 4q + j */
  TIDEGATE_UNROLL for (int g = 0; g < BLOCK; g += 4)
    TIDEGATE_UNROLL for (int j = 0; j < 2; ++j) {
      const __m512d x = _mm512_castps_pd(b[g + j]), y = _mm512_castps_pd(b[g + 2 + j]);
      a[g + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
      a[g + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    }
  TIDEGATE_UNROLL for (int j = 0; j < 4; ++j) {
    const __m512 low02 = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), low13 = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
    const __m512 high02 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
    const __m512 high13 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
    _mm512_storeu_ps(to + j * BLOCK, _mm512_shuffle_f32x4(low02, high02, 0x88));
    _mm512_storeu_ps(to + (4 + j) * BLOCK, _mm512_shuffle_f32x4(low13, high13, 0x88));
    _mm512_storeu_ps(to + (8 + j) * BLOCK, _mm512_shuffle_f32x4(low02, high02, 0xdd));
    _mm512_storeu_ps(to + (12 + j) * BLOCK, _mm512_shuffle_f32x4(low13, high13, 0xdd));
  }
}
#else
TIDEGATE_INLINE void transpose16(const float *from, int64_t from_row, float *to) {
  for (int k = 0; k < BLOCK; k += 4)
    for (int r = 0; r < BLOCK; r += 4) transpose4(from + r * from_row + k, from_row, to + k * BLOCK + r);
}
#endif

/* `rows` (1 … 16) rows of K columns become one block of columns: to[k · 16 + row]; K16 · 16 entries of k are
 * written. */
static void pack_transposed(const float *from, int64_t from_row, int rows, int64_t K, int64_t K16, float *to) {
  for (int64_t k = 0; k < K16 * BLOCK; k += BLOCK, from += BLOCK, to += BLOCK * BLOCK) {
    if (rows == BLOCK && k + BLOCK <= K) {
      transpose16(from, from_row, to);
      continue;
    }
    alignas(64) float whole[BLOCK * BLOCK];
    for (int r = 0; r < BLOCK; ++r)
      store_block(whole + r * BLOCK,
                  r < rows && k < K ? load_part(from + r * from_row, part_of(K, k / BLOCK)) : splat(0.0f));
    transpose16(whole, BLOCK, to);
  }
}

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
