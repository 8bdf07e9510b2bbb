/* A linear layer, y = W x + b, for a few vectors: W is read as it lies, once, so the time is that of bringing it to the
 * core. Every element is the same sum in the same order, whatever tile and thread it falls to. */
#ifndef TIDEGATE_LINEAR_H
#define TIDEGATE_LINEAR_H

#include "pack.h"
#include "team.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

/* The sum over a vector's elements, by halves. */
TIDEGATE_INLINE float sum_of(vf v) {
  alignas(64) float parts[VECTOR];
  store(parts, v);
  TIDEGATE_UNROLL for (int width = VECTOR / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
  return parts[0];
}

struct Linear {
  const tidegate_linear &p;
  float *y;
  static constexpr int VECTORS_AT_ONCE = 2, ROWS_AT_ONCE = 4; /* a tile's sums, and what they read, fit the registers */

  void operator()(const Member &m) const {
    const Range rows = share(p.O, m.thread, m.threads, ROWS_AT_ONCE);
    for (int64_t o = rows.begin; o < rows.end; o += ROWS_AT_ONCE) {
      const int64_t some = rows.end - o < ROWS_AT_ONCE ? rows.end - o : ROWS_AT_ONCE;
      int64_t n = 0;
      for (; n + VECTORS_AT_ONCE <= p.N; n += VECTORS_AT_ONCE) tiles<VECTORS_AT_ONCE>(n, o, some);
      for (; n < p.N; ++n) tiles<1>(n, o, some);
    }
  }

  template <int N>
  void tiles(int64_t n, int64_t o, int64_t some) const {
    if (some == ROWS_AT_ONCE) return tile<N, ROWS_AT_ONCE>(n, o);
    for (int64_t i = 0; i < some; ++i) tile<N, 1>(n, o + i);
  }

  template <int N, int O>
  void tile(int64_t n, int64_t o) const {
    vf sums[N][O] = {};
    const float *x = p.x + n * p.I, *w = p.W + o * p.I;
    const int64_t whole = p.I / VECTOR * VECTOR;
    for (int64_t k = 0; k < whole; k += VECTOR) add<N, O>(sums, x + k, w + k, p.I);
    if (whole < p.I) {
      alignas(64) float xs[N * VECTOR] = {}, ws[O * VECTOR] = {};
      const size_t rest = static_cast<size_t>(p.I - whole) * sizeof(float);
      for (int i = 0; i < N; ++i) memcpy(xs + i * VECTOR, x + i * p.I + whole, rest);
      for (int j = 0; j < O; ++j) memcpy(ws + j * VECTOR, w + j * p.I + whole, rest);
      add<N, O>(sums, xs, ws, VECTOR);
    }
    for (int i = 0; i < N; ++i)
      for (int j = 0; j < O; ++j)
        y[(n + i) * p.O + o + j] = sum_of(sums[i][j]) + (p.b == nullptr ? 0.0f : p.b[o + j]);
  }

  template <int N, int O>
  TIDEGATE_INLINE void add(vf (&sums)[N][O], const float *x, const float *w, int64_t row) {
    vf rows[O];
    TIDEGATE_UNROLL for (int j = 0; j < O; ++j) rows[j] = load(w + j * row);
    TIDEGATE_UNROLL for (int i = 0; i < N; ++i) {
      const vf vector = load(x + i * row);
      TIDEGATE_UNROLL for (int j = 0; j < O; ++j) sums[i][j] = fma(vector, rows[j], sums[i][j]);
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
