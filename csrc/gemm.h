/* The matrix products, all on blocked operands.
 *
 * A matrix of M rows and K columns in blocks is stored (K / 16, rows, 16): 16 columns of a row lie together, so that the
 * time loop can write h and the gates by whole vectors and the next product reads them as they are.
 *
 *     rows form    C[m, n] = Σ_k A[m, k] B[k, n]    A blocked over k: (K / 16, rows, 16); B: (N / 16, K, 16)
 *     outer form   C[m, n] = Σ_k A[k, m] B[k, n]    A blocked over m: (M / 16, K, 16);    B: (N / 16, K, 16)
 *
 * A tile of C, MR rows by NV blocks, stays in registers while k runs: for each k, MR broadcasts and NV block loads feed
 * MR · NV multiply-adds. C is addressed as c + m · row + n · block: blocked or row-major alike. */
#ifndef TIDEGATE_GEMM_H
#define TIDEGATE_GEMM_H

#include "simd.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

enum class Begin { zero, accumulate, bias };

/* Where C lies. */
struct Target {
  float *c;
  int64_t row, block; /* floats from a row to the next, and from a block of 16 columns to the next */
  TIDEGATE_INLINE float *at(const Target &t, int64_t m, int64_t n) { return t.c + m * t.row + n * t.block; }
};

/* C lies far away and is asked for at once, to be there when k has run; a tile that adds to it does so at its end. */
template <int MR, int NV>
TIDEGATE_INLINE void begin_tile(vf (&acc)[MR][NV * VECTORS], const Target &c, Begin begin, const float *bias) {
  TIDEGATE_UNROLL for (int m = 0; m < MR; ++m)
    TIDEGATE_UNROLL for (int n = 0; n < NV; ++n)
      TIDEGATE_UNROLL for (int i = 0; i < VECTORS; ++i)
        acc[m][n * VECTORS + i] = begin == Begin::bias ? load(bias + n * BLOCK + i * VECTOR) : vf{};
  TIDEGATE_UNROLL for (int m = 0; m < MR; ++m)
    TIDEGATE_UNROLL for (int n = 0; n < NV; ++n) __builtin_prefetch(Target::at(c, m, n), 1);
}

template <int MR, int NV>
TIDEGATE_INLINE void end_tile(const vf (&acc)[MR][NV * VECTORS], const Target &c, Begin begin) {
  TIDEGATE_UNROLL for (int m = 0; m < MR; ++m)
    TIDEGATE_UNROLL for (int n = 0; n < NV; ++n)
      TIDEGATE_UNROLL for (int i = 0; i < VECTORS; ++i) {
        float *at = Target::at(c, m, n) + i * VECTOR;
        const vf sum = acc[m][n * VECTORS + i];
        store(at, begin == Begin::accumulate ? load(at) + sum : sum);
      }
}

/* One step of k: a[m · stride] broadcast for each row, times the NV blocks at b. */
template <int MR, int NV>
TIDEGATE_INLINE void multiply(vf (&acc)[MR][NV * VECTORS], const float *a, int stride, const float *b, int64_t b_block) {
  vf columns[NV * VECTORS];
  TIDEGATE_UNROLL for (int n = 0; n < NV; ++n)
    TIDEGATE_UNROLL for (int i = 0; i < VECTORS; ++i)
      columns[n * VECTORS + i] = load(b + n * b_block + i * VECTOR);
  TIDEGATE_UNROLL for (int m = 0; m < MR; ++m) {
    const vf row = broadcast(a[m * stride]);
    TIDEGATE_UNROLL for (int n = 0; n < NV * VECTORS; ++n) acc[m][n] = fma(row, columns[n], acc[m][n]);
  }
}

/* ---- Rows form -------------------------------------------------------------------------------------------------- */

struct Rows {
  const float *a;
  int64_t a_block; /* floats from a block of 16 k to the next */
  const float *b;
  int64_t b_block; /* floats from a block of 16 columns to the next: K · 16, or more */
  int64_t K16;     /* blocks of 16 k */
  Begin begin;
  const float *bias; /* (N,) for Begin::bias */
};

template <int MR, int NV>
static void rows_tile(const Rows &p, const float *a, const float *b, const float *bias, Target c) {
  vf acc[MR][NV * VECTORS];
  begin_tile<MR, NV>(acc, c, p.begin, bias);
  const int64_t b_block = p.b_block, a_block = p.a_block;
  for (int64_t k = 0; k < p.K16; ++k, a += a_block)
    TIDEGATE_UNROLL_4 for (int j = 0; j < BLOCK; ++j, b += BLOCK) {
      if (MR <= 4 && MR > 1) /* weights read once a tile come from far: ask for them early */
        TIDEGATE_UNROLL for (int n = 0; n < NV; ++n) __builtin_prefetch(b + n * b_block + 24 * BLOCK);
      multiply<MR, NV>(acc, a + j, BLOCK, b, b_block);
    }
  end_tile<MR, NV>(acc, c, p.begin);
}

typedef void (*RowsTile)(const Rows &, const float *, const float *, const float *, Target);

/* What fits: accumulators, one block row of columns and a broadcast, in the registers there are. */
constexpr bool fits(int MR, int NV) { return MR * NV * VECTORS + NV * VECTORS + 1 <= REGISTERS; }
constexpr int widest(int MR) {
  int NV = 1;
  while (NV < 8 && fits(MR, NV + 1)) ++NV;
  return NV;
}
constexpr int MOST_ROWS = VECTOR == 16 ? 14 : 6;
constexpr int MOST_BLOCKS = 8;

template <int MR, int NV>
constexpr RowsTile rows_tile_of() {
  if constexpr (fits(MR, NV) || NV == 1) return rows_tile<MR, NV>;
  else return nullptr;
}
#define TIDEGATE_ROW(MR) \
  {rows_tile_of<MR, 1>(), rows_tile_of<MR, 2>(), rows_tile_of<MR, 3>(), rows_tile_of<MR, 4>(), \
   rows_tile_of<MR, 5>(), rows_tile_of<MR, 6>(), rows_tile_of<MR, 7>(), rows_tile_of<MR, 8>()}
static constexpr RowsTile ROWS_TILES[14][MOST_BLOCKS] = {
    TIDEGATE_ROW(1), TIDEGATE_ROW(2), TIDEGATE_ROW(3), TIDEGATE_ROW(4),
    TIDEGATE_ROW(5), TIDEGATE_ROW(6),
#if defined(__AVX512F__)
    TIDEGATE_ROW(7), TIDEGATE_ROW(8), TIDEGATE_ROW(9), TIDEGATE_ROW(10),
    TIDEGATE_ROW(11), TIDEGATE_ROW(12), TIDEGATE_ROW(13), TIDEGATE_ROW(14),
#endif
};

/* How a product of M rows is cut: equal tiles, as tall as they can be at two blocks of columns, or for few rows as wide. */
struct Cut {
  int rows, blocks;
};
TIDEGATE_INLINE Cut cut_rows(int64_t M) {
  if (VECTOR != 16) { /* AVX2: 6 × 1 block; NEON: 6 × 1 block */
    const int64_t tiles = (M + 5) / 6;
    const int rows = static_cast<int>((M + tiles - 1) / tiles);
    return {rows, widest(rows)};
  }
  const int most = M > 6 ? 14 : 6;
  const int64_t tiles = (M + most - 1) / most;
  const int rows = static_cast<int>((M + tiles - 1) / tiles);
  /* one row is bound by the loads of B, and four streams of them are read faster than eight */
  return {rows, rows == 1 && widest(1) > 4 ? 4 : widest(rows)};
}

/* C (M rows, N16 blocks of columns) of one product. a: the first row. */
static void rows_product(const Rows &p, int64_t M, int64_t N16, Target c) {
  const Cut cut = cut_rows(M);
  const int64_t groups = (N16 + cut.blocks - 1) / cut.blocks;
  for (int64_t n = 0, group = 0; n < N16; ++group) {
    const int blocks = static_cast<int>(N16 * (group + 1) / groups - n); /* even: a narrow tile is a slow one */
    for (int64_t m = 0; m < M;) {
      const int rows = static_cast<int>(M - m < cut.rows ? M - m : cut.rows);
      ROWS_TILES[rows - 1][blocks - 1](p, p.a + m * BLOCK, p.b + n * p.b_block, p.bias == nullptr ? nullptr : p.bias + n * BLOCK,
                                       {Target::at(c, m, n), c.row, c.block});
      m += rows;
    }
    n += blocks;
  }
}

/* ---- Outer form ------------------------------------------------------------------------------------------------- */

/* k runs over `pieces` pieces of memory, each of `count` rows but the last, which has `last`. */
struct Outer {
  const float *a;
  int64_t a_piece;
  const float *b;
  int64_t b_piece, b_block;
  int64_t pieces, count, last;
  Begin begin; /* zero or accumulate */
};

template <int MR, int NV>
static void outer_tile(const Outer &p, const float *a, const float *b, Target c) {
  vf acc[MR][NV * VECTORS];
  static const float none[NV * BLOCK] = {};
  begin_tile<MR, NV>(acc, c, p.begin, none);
  for (int64_t piece = 0; piece < p.pieces; ++piece) {
    const float *ak = a + piece * p.a_piece, *bk = b + piece * p.b_piece;
    const int64_t count = piece + 1 == p.pieces ? p.last : p.count;
    TIDEGATE_UNROLL_4 for (int64_t k = 0; k < count; ++k, ak += BLOCK, bk += BLOCK)
      multiply<MR, NV>(acc, ak, 1, bk, p.b_block);
  }
  end_tile<MR, NV>(acc, c, p.begin);
}

constexpr int OUTER_ROWS = VECTOR == 16 ? 8 : 4;
constexpr int OUTER_BLOCKS = VECTOR == 16 ? 3 : 1;
typedef void (*OuterTile)(const Outer &, const float *, const float *, Target);
static constexpr OuterTile OUTER_TILES[] = {outer_tile<OUTER_ROWS, 1>,
#if defined(__AVX512F__)
                                            outer_tile<OUTER_ROWS, 2>, outer_tile<OUTER_ROWS, 3>
#endif
};

/* C of 16 rows (a block of A) by N16 blocks; `rows` and `columns` of them are real, the rest is not written. */
static void outer_product(const Outer &p, int rows, int64_t N16, int64_t columns, Target c) {
  for (int64_t n = 0; n < N16;) {
    const int blocks = static_cast<int>(N16 - n < OUTER_BLOCKS ? N16 - n : OUTER_BLOCKS);
    const OuterTile tile = OUTER_TILES[blocks - 1];
    for (int m = 0; m < rows; m += OUTER_ROWS) {
      const bool whole = m + OUTER_ROWS <= rows && (n + blocks) * BLOCK <= columns;
      alignas(64) float part[OUTER_ROWS * OUTER_BLOCKS * BLOCK];
      Target to = {Target::at(c, m, n), c.row, c.block};
      if (!whole) {
        const int real_rows = rows - m < OUTER_ROWS ? rows - m : OUTER_ROWS;
        const Target edge = {part, blocks * BLOCK, BLOCK};
        const int64_t left = columns - n * BLOCK;
        const int64_t real = left < blocks * BLOCK ? left : blocks * BLOCK;
        if (p.begin == Begin::accumulate) {
          memset(part, 0, sizeof part);
          for (int i = 0; i < real_rows; ++i)
            memcpy(part + i * blocks * BLOCK, to.c + i * c.row, static_cast<size_t>(real) * sizeof(float));
        }
        tile(p, p.a + m, p.b + n * p.b_block, edge);
        for (int i = 0; i < real_rows; ++i)
          memcpy(to.c + i * c.row, part + i * blocks * BLOCK, static_cast<size_t>(real) * sizeof(float));
      } else {
        tile(p, p.a + m, p.b + n * p.b_block, to);
      }
    }
    n += blocks;
  }
}

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
