/* Linear layer and softmax cross-entropy, forward and backward in one pass over blocks of rows.
 *
 * For a block of R rows the logits are kept transposed and blocked, (R / 16, V, 16): 16 rows stand side by side in a
 * vector, so the softmax needs no sum across a vector, and the same array is the blocked operand of all three products:
 *
 *     logitsᵀ[v, r] = Σ_k W[v, k] x[r, k]          rows form:  W blocked over k, x transposed
 *     d_W[v, k]    += Σ_r d_logits[r, v] x[r, k]   rows form:  d_logits blocked over r
 *     d_x[r, k]     = Σ_v d_logits[r, v] W[v, k]   outer form: d_logits blocked over r
 *
 * W is copied a few rows at a time, where the tile that reads them finds them in the cache. */
#ifndef TIDEGATE_LINEAR_CROSS_ENTROPY_H
#define TIDEGATE_LINEAR_CROSS_ENTROPY_H

#include <math.h>

#include "activations.h"
#include "gemm.h"
#include "pack.h"
#include "team.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

struct LinearCrossEntropy {
  const tidegate_linear_cross_entropy &p;
  float *losses, *d_x, *d_W, *d_b;
  int64_t H16, R, some_rows, some_k;
  Workspace space;
  size_t x_rows, x_columns, logits, copies;
  int64_t copy_size;

  LinearCrossEntropy(const tidegate_linear_cross_entropy &p_, float *losses_, float *d_x_, float *d_W_, float *d_b_, int threads)
      : p(p_), losses(losses_), d_x(d_x_), d_W(d_W_), d_b(d_b_), H16(blocks_of(p.H)) {
    /* Equal blocks of a third of all rows, but of 8 to 32 MiB of logits, and 64 to 512 rows: the more rows, the less often
     * W is copied; the fewer, the less memory. */
    const int64_t mebi = int64_t{1} << 18, fewest = 8 * mebi / p.V, most = 32 * mebi / p.V;
    R = (p.N + 2) / 3;
    R = R < fewest ? fewest : R > most ? most : R;
    R = R < 64 ? 64 : R > 512 ? 512 : R;
    const int64_t count = (p.N + R - 1) / R;
    R = blocks_of((p.N + count - 1) / count) * BLOCK;
    some_rows = MOST_ROWS;                                /* of W at a time, for the logits */
    some_k = 256;                                         /* of W at a time, for d_x */
    const int64_t for_x = some_k * ((H16 + threads - 1) / threads) * BLOCK;
    copy_size = some_rows * H16 * BLOCK > for_x ? some_rows * H16 * BLOCK : for_x;
    x_columns = space.plan(R * H16 * BLOCK);
    x_rows = space.plan(d_W == nullptr ? 0 : H16 * R * BLOCK);
    logits = space.plan(R * p.V);
    copies = space.plan(threads * copy_size);
  }

  /* A row that does not count gives no gradient, even where its x or its logits are not finite. */
  bool counts(int64_t n) const { return p.targets[n] != p.ignore_index && (p.weight == nullptr || p.weight[n] != 0.0f); }
  bool wants_gradient() const { return d_x != nullptr || d_W != nullptr || d_b != nullptr; }
  float *logits_of(int64_t r16) const { return space.at(logits) + r16 * p.V * BLOCK; }

  void operator()(const Member &m) const {
    for (int64_t first = 0; first < p.N; first += R) {
      const int64_t rows = p.N - first < R ? p.N - first : R, R16 = blocks_of(rows);
      const Begin how = first == 0 ? Begin::zero : Begin::accumulate;
      read_rows(m, first, rows, R16);
      m.wait();
      multiply(m, R16);
      m.wait();
      const Range mine = share(R16, m.thread, m.threads);
      for (int64_t r = mine.begin; r < mine.end; ++r) softmax(first, r, part_of(rows, r));
      m.wait();
      if (d_W != nullptr || d_b != nullptr) into_weight(m, R16, how);
      if (d_x != nullptr) into_x(m, first, rows, R16);
      m.wait();
    }
  }

  void read_rows(const Member &m, int64_t first, int64_t rows, int64_t R16) const {
    const Range mine = share(R16, m.thread, m.threads);
    for (int64_t r = mine.begin; r < mine.end; ++r) {
      const float *from = p.x + (first + r * BLOCK) * p.H;
      const int part = part_of(rows, r);
      pack_transposed(from, p.H, part, p.H, H16, space.at(x_columns) + r * H16 * BLOCK * BLOCK);
      if (d_W == nullptr) continue;
      float *to = space.at(x_rows) + r * BLOCK * BLOCK;
      pack_rows(from, p.H, part, p.H, to, R16 * BLOCK * BLOCK);
      for (int i = 0; i < BLOCK; ++i) {
        if (i < part && counts(first + r * BLOCK + i)) continue;
        for (int64_t k = 0; k < H16; ++k) store_block(to + (k * R16 * BLOCK + i) * BLOCK, splat(0.0f));
      }
    }
  }

  void multiply(const Member &m, int64_t R16) const {
    const Range mine = share(p.V, m.thread, m.threads);
    float *copy = space.at(copies) + m.thread * copy_size;
    const int64_t tiles = (mine.size() + some_rows - 1) / some_rows;
    for (int64_t i = 0; i < tiles; ++i) {
      const Range v = share(mine.size(), static_cast<int>(i), static_cast<int>(tiles));
      pack_rows(p.W + (mine.begin + v.begin) * p.H, p.H, v.size(), p.H, copy, some_rows * BLOCK);
      rows_product({copy, some_rows * BLOCK, space.at(x_columns), H16 * BLOCK * BLOCK, H16, Begin::zero, nullptr}, v.size(), R16,
                   {logits_of(0) + (mine.begin + v.begin) * BLOCK, BLOCK, p.V * BLOCK});
    }
  }

  /* 16 rows at once: their losses, and the logits become the gradient of the losses' sum. */
  void softmax(int64_t first, int64_t r16, int real) const {
    float *z = logits_of(r16);
    Block most = splat(-INFINITY), sum = splat(0.0f), total = splat(0.0f);
    for (int64_t v = 0; v < p.V; ++v) {
      Block x = load_block(z + v * BLOCK);
      if (p.b != nullptr) x = x + splat(p.b[v]), store_block(z + v * BLOCK, x);
      TIDEGATE_EACH most.v[i] = most.v[i] > x.v[i] ? most.v[i] : x.v[i];
      if (p.label_smoothing != 0.0f) total = total + x;
    }
    alignas(64) float target[BLOCK] = {}, scale[BLOCK] = {}, highest[BLOCK], mean[BLOCK], sums[BLOCK];
    store_block(highest, most);
    for (int i = 0; i < real; ++i) {
      const int64_t n = first + r16 * BLOCK + i;
      if (!counts(n)) continue;
      target[i] = z[p.targets[n] * BLOCK + i];
      scale[i] = p.weight == nullptr ? 1.0f : p.weight[n];
    }
    for (int64_t v = 0; v < p.V; ++v) {
      Block e = load_block(z + v * BLOCK) - most;
      TIDEGATE_EACH e.v[i] = exp(e.v[i]);
      sum = sum + e;
      store_block(z + v * BLOCK, e);
    }
    store_block(sums, sum), store_block(mean, total);
    const float s = p.label_smoothing, each = s / static_cast<float>(p.V);
    for (int i = 0; i < real; ++i) {
      const int64_t n = first + r16 * BLOCK + i;
      const float log_sum = highest[i] + logf(sums[i]);
      losses[n] = counts(n) ? scale[i] * (log_sum - (1.0f - s) * target[i] - (s == 0.0f ? 0.0f : each * mean[i])) : 0.0f;
    }
    if (!wants_gradient()) return;
    alignas(64) float factor[BLOCK];
    for (int i = 0; i < BLOCK; ++i) factor[i] = scale[i] == 0.0f ? 0.0f : scale[i] / sums[i];
    const Block f = load_block(factor), off = load_block(scale) * splat(-each);
    Block live;
    TIDEGATE_EACH live.v[i] = load(scale + i * VECTOR);
    for (int64_t v = 0; v < p.V; ++v) {
      Block g = fma(load_block(z + v * BLOCK), f, off);
      TIDEGATE_EACH g.v[i] = live.v[i] == broadcast(0.0f) ? broadcast(0.0f) : g.v[i];
      store_block(z + v * BLOCK, g);
    }
    for (int i = 0; i < real; ++i) {
      const int64_t n = first + r16 * BLOCK + i;
      if (counts(n)) z[p.targets[n] * BLOCK + i] -= scale[i] * (1.0f - s);
    }
  }

  void into_weight(const Member &m, int64_t R16, Begin how) const {
    const Range mine = share(p.V, m.thread, m.threads);
    const int64_t whole = p.H / BLOCK, tall = 4 * MOST_ROWS;
    for (int64_t v = mine.begin; v < mine.end && d_W != nullptr; v += tall) {
      const int64_t rows = mine.end - v < tall ? mine.end - v : tall;
      Rows rows_form{logits_of(0) + v * BLOCK, p.V * BLOCK, space.at(x_rows), R16 * BLOCK * BLOCK, R16, how, nullptr};
      rows_product(rows_form, rows, whole, {d_W + v * p.H, p.H, BLOCK});
      if (whole == H16) continue;
      alignas(64) float edge[4 * 14 * BLOCK]; /* the last block of columns reaches beyond the real ones */
      const int part = part_of(p.H, whole);
      for (int64_t i = 0; i < rows && how == Begin::accumulate; ++i)
        store_block(edge + i * BLOCK, load_part(d_W + (v + i) * p.H + whole * BLOCK, part));
      rows_form.b += whole * rows_form.b_block;
      rows_product(rows_form, rows, 1, {edge, BLOCK, BLOCK});
      for (int64_t i = 0; i < rows; ++i) store_part(d_W + (v + i) * p.H + whole * BLOCK, load_block(edge + i * BLOCK), part);
    }
    for (int64_t v = mine.begin; v < mine.end && d_b != nullptr; ++v) {
      Block sum = splat(0.0f);
      for (int64_t r = 0; r < R16; ++r) sum = sum + load_block(logits_of(r) + v * BLOCK);
      alignas(64) float parts[BLOCK];
      store_block(parts, sum);
      float total = how == Begin::zero ? 0.0f : d_b[v];
      for (float part : parts) total += part;
      d_b[v] = total;
    }
  }

  void into_x(const Member &m, int64_t first, int64_t rows, int64_t R16) const {
    const Range mine = share(H16, m.thread, m.threads);
    if (mine.size() == 0) return;
    const int64_t begin = mine.begin * BLOCK, end = mine.end * BLOCK < p.H ? mine.end * BLOCK : p.H;
    float *copy = space.at(copies) + some_k * begin; /* columns of its own, however few the members are */
    for (int64_t v = 0; v < p.V; v += some_k) {
      const int64_t count = p.V - v < some_k ? p.V - v : some_k;
      pack_rows(p.W + v * p.H + begin, p.H, count, end - begin, copy, some_k * BLOCK);
      for (int64_t r = 0; r < R16; ++r)
        outer_product({logits_of(r) + v * BLOCK, 0, copy, 0, some_k * BLOCK, 1, count, count,
                       v == 0 ? Begin::zero : Begin::accumulate},
                      part_of(rows, r), mine.size(), end - begin, {d_x + (first + r * BLOCK) * p.H + begin, p.H, BLOCK});
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
