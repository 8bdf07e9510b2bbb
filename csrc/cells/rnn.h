/* Standard RNN, point by point: h_t = tanh(pre-activation)  (1), or relu in its place.
 *
 * Equation: src/tidegate/theory/rnn.py. */
#ifndef TIDEGATE_CELLS_RNN_H
#define TIDEGATE_CELLS_RNN_H

#include "../point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

template <typename F>
struct Rnn {
  static constexpr int GATES = 1, SLOTS = 1;
  static constexpr bool HAS_C = false, TWO_STAGES = false, CARRIES = false;
  static constexpr int X_FIRST = 0, X_SLOTS = 1, H_FIRST = 0, H_SLOTS = 1;
  static constexpr int gate_of(int slot) { return slot; }
  static constexpr bool bias_apart(int) { return false; }

  static void forward(const Point &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b)
      p.put_h(u, b, F::tanh(p.pre(0, u, b, part)), part); /* (1) */
  }

  static void backward(const PointBack &p, int64_t u) {
    const int part = part_of(p.H, u);
    for (int64_t b = 0; b < p.B; ++b) {
      if (!p.is_active(b)) {
        p.skip<SLOTS>(u, b);
        continue;
      }
      const Block h = load_part(p.h + b * p.H + u * BLOCK, part);
      store_block(p.d_slot(0, u, b), p.d_h_of(u, b, part) * F::d_tanh(h)); /* undoes (1) */
      store_block(p.carry + p.unit(u, b), splat(0.0f));
    }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
