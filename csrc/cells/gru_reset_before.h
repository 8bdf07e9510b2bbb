/* GRU with the reset gate applied before the product, point by point, in two stages with a product between them.
 *
 *     first:  r z = σ σ (pre-activations);  k = r h_{t-1}  (3);      product: a_n += W_hn k
 *     second: n = tanh(a_n)  (4);  h_t = (1 - z) n + z h_{t-1}  (5)
 *
 * Equations and their numbers: src/tidegate/theory/gru_reset_before.py. */
#ifndef TIDEGATE_CELLS_GRU_RESET_BEFORE_H
#define TIDEGATE_CELLS_GRU_RESET_BEFORE_H

#include "../point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

template <typename F>
struct GruResetBefore {
  static constexpr int GATES = 3, SLOTS = 3; /* r z n */
  static constexpr bool HAS_C = false, TWO_STAGES = true, CARRIES = true;
  static constexpr int X_FIRST = 0, X_SLOTS = 3, H_FIRST = 0, H_SLOTS = 2; /* n's product is the second stage's */
  static constexpr int gate_of(int slot) { return slot; }
  static constexpr bool bias_apart(int) { return false; }

  static void first(const Point &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      const Block r = F::sigma(p.pre(0, u, b, part));
      store_block(p.slot(0, u, b), r);
      store_block(p.slot(1, u, b), F::sigma(p.pre(1, u, b, part)));
      store_block(p.k + p.unit(u, b), r * load_block(p.h_before + p.unit(u, b))); /* (3) */
    }
  }

  static void forward(const Point &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      const Block z = load_block(p.slot(1, u, b)), n = F::tanh(p.pre(2, u, b, part)); /* (4) */
      const Block h = fma(splat(1.0f) - z, n, z * load_block(p.h_before + p.unit(u, b)));    /* (5) */
      store_block(p.slot(2, u, b), n);
      p.put_h(u, b, h, part);
    }
  }

  /* d_a_n and d_a_z; after it, k = W_hnᵀ d_a_n, the gradient of r h_{t-1}. */
  static void backward_first(const PointBack &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      if (!p.is_active(b)) {
        p.skip<SLOTS>(u, b);
        continue;
      }
      const Block z = load_block(p.slot(1, u, b)), n = load_block(p.slot(2, u, b));
      const Block h_before = p.h_before_of(u, b, part), d_h = p.d_h_of(u, b, part);
      store_block(p.d_slot(2, u, b), d_h * (splat(1.0f) - z) * F::d_tanh(n));               /* undoes (5), (4) */
      store_block(p.d_slot(1, u, b), d_h * (h_before - n) * F::d_sigma(z));                 /* undoes (5), (2) */
      store_block(p.carry + p.unit(u, b), d_h * z);                                         /* undoes (5) */
    }
  }

  static void backward(const PointBack &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      if (!p.is_active(b)) continue;
      const Block r = load_block(p.slot(0, u, b)), d_k = load_block(p.d_k + p.unit(u, b));
      store_block(p.d_slot(0, u, b), d_k * p.h_before_of(u, b, part) * F::d_sigma(r));      /* undoes (3), (1) */
      float *carry = p.carry + p.unit(u, b);
      store_block(carry, fma(d_k, r, load_block(carry)));                                   /* undoes (3) */
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
