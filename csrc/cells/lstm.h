/* LSTM, point by point: a block of 16 units of every lane, at one step. The products are done before.
 *
 *     i f g o = σ σ tanh σ (pre-activations);  c_t = f c_{t-1} + i g  (5);  h_t = o tanh(c_t)  (6)
 *
 * Equations and their numbers: src/tidegate/theory/lstm.py. */
#ifndef TIDEGATE_CELLS_LSTM_H
#define TIDEGATE_CELLS_LSTM_H

#include "../point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

template <typename F>
struct Lstm {
  static constexpr int GATES = 4, SLOTS = 4; /* i f g o */
  static constexpr bool HAS_C = true, TWO_STAGES = false, CARRIES = false;
  static constexpr int X_FIRST = 0, X_SLOTS = 4, H_FIRST = 0, H_SLOTS = 4;
  static constexpr int gate_of(int slot) { return slot; } /* rows of the stacked weights that a slot comes from */
  static constexpr bool bias_apart(int) { return false; }

  static void forward(const Point &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      Block i = F::sigma(p.pre(0, u, b, part)), f = F::sigma(p.pre(1, u, b, part));
      Block g = F::tanh(p.pre(2, u, b, part)), o = F::sigma(p.pre(3, u, b, part));
      const bool fresh = p.is_fresh(b);
      const Block c_before = fresh ? splat(0.0f) : load_block(p.c_before + p.unit(u, b));
      Block c = fma(f, c_before, i * g);       /* (5) */
      const Block h = o * F::tanh(c);          /* (6) */
      if (p.saves) {
        store_block(p.slot(0, u, b), i), store_block(p.slot(1, u, b), f);
        store_block(p.slot(2, u, b), g), store_block(p.slot(3, u, b), o);
      }
      if (!p.is_active(b)) c = load_block(p.c_before + p.unit(u, b));
      store_block(p.c + p.unit(u, b), c);
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
      const Block i = load_block(p.slot(0, u, b)), f = load_block(p.slot(1, u, b));
      const Block g = load_block(p.slot(2, u, b)), o = load_block(p.slot(3, u, b));
      const Block tanh_c = F::tanh(load_block(p.c + p.unit(u, b)));
      const Block c_before = p.is_fresh(b) ? splat(0.0f) : load_block(p.c_before + p.unit(u, b));
      const Block d_h = p.d_h_of(u, b, part);
      const Block d_o = d_h * tanh_c;                                                     /* undoes (6) */
      const Block d_c = fma(d_h * o, F::d_tanh(tanh_c), p.d_c_of(u, b));                  /* undoes (6) */
      store_block(p.d_slot(0, u, b), d_c * g * F::d_sigma(i));                            /* undoes (5), (1) */
      store_block(p.d_slot(1, u, b), d_c * c_before * F::d_sigma(f));                     /* undoes (5), (2) */
      store_block(p.d_slot(2, u, b), d_c * i * F::d_tanh(g));                             /* undoes (5), (3) */
      store_block(p.d_slot(3, u, b), d_o * F::d_sigma(o));                                /* undoes (4) */
      store_block(p.d_c + p.unit(u, b), d_c * f);                                         /* undoes (5) */
      store_block(p.carry + p.unit(u, b), splat(0.0f));
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
