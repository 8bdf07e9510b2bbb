/* GRU with the reset gate applied after the product, point by point.
 *
 *     r z = σ σ (pre-activations);  q = W_hn h_{t-1} + b_hn  (3);  n = tanh(a_n + r q)  (4)
 *     h_t = (1 - z) n + z h_{t-1}  (5)
 *
 * Equations and their numbers: src/tidegate/theory/gru.py. Slots stand as q r z n, so that what comes from h (q r z) and
 * what comes from x (r z n) are each one stretch of k for the backward products. */
#ifndef TIDEGATE_CELLS_GRU_H
#define TIDEGATE_CELLS_GRU_H

#include "../point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

template <typename F>
struct Gru {
  static constexpr int GATES = 3, SLOTS = 4; /* q r z n */
  static constexpr bool HAS_C = false, TWO_STAGES = false, CARRIES = true;
  static constexpr int X_FIRST = 1, X_SLOTS = 3, H_FIRST = 0, H_SLOTS = 3;
  static constexpr int gate_of(int slot) { return slot == 0 ? 2 : slot - 1; } /* q: n's rows of W_hh */
  static constexpr bool bias_apart(int slot) { return slot == 0 || slot == 3; } /* b_hn and b_xn do not add up */

  static void forward(const Point &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      const Block q = p.pre(0, u, b, part);                                   /* (3) */
      const Block r = F::sigma(p.pre(1, u, b, part)), z = F::sigma(p.pre(2, u, b, part));
      const Block n = F::tanh(fma(r, q, p.pre(3, u, b, part)));               /* (4) */
      const Block h_before = load_block(p.h_before + p.unit(u, b));
      const Block h = fma(splat(1.0f) - z, n, z * h_before);                  /* (5) */
      if (p.saves) {
        store_block(p.slot(0, u, b), q), store_block(p.slot(1, u, b), r);
        store_block(p.slot(2, u, b), z), store_block(p.slot(3, u, b), n);
      }
      p.put_h(u, b, h, part);
    }
  }

  static void backward(const PointBack &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      if (!p.is_active(b)) {
        p.skip<SLOTS>(u, b);
        continue;
      }
      const Block q = load_block(p.slot(0, u, b)), r = load_block(p.slot(1, u, b));
      const Block z = load_block(p.slot(2, u, b)), n = load_block(p.slot(3, u, b));
      const Block h_before = p.h_before_of(u, b, part), d_h = p.d_h_of(u, b, part);
      const Block d_a_n = d_h * (splat(1.0f) - z) * F::d_tanh(n);             /* undoes (5), (4) */
      store_block(p.d_slot(0, u, b), d_a_n * r);                              /* undoes (4): into q */
      store_block(p.d_slot(1, u, b), d_a_n * q * F::d_sigma(r));              /* undoes (4), (1) */
      store_block(p.d_slot(2, u, b), d_h * (h_before - n) * F::d_sigma(z));   /* undoes (5), (2) */
      store_block(p.d_slot(3, u, b), d_a_n);
      store_block(p.carry + p.unit(u, b), d_h * z);                           /* undoes (5): z h_{t-1} */
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
