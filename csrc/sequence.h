/* What the two directions of the time loop share: the layout of a sequence in slabs.
 *
 * The row of step t and lane b is t · B + b. Rows are kept in slabs of S steps, S · B rows each and about 64, so that
 * few lanes too give the products of whole slabs (x by W_ih, and all of backward's but one) tall tiles. The gates of a slab are
 * blocked: (SLOTS · U, S · B, 16), U the blocks of 16 units.
 *
 * Each thread computes some blocks of units of every lane, and all wait for each other once a step (some 100 ns). The other
 * way, each thread some lanes of every unit and no waiting, was slower at every size that was tried: its tiles are half
 * as tall, and each core has to hold all weights instead of its share. */
#ifndef TIDEGATE_SEQUENCE_H
#define TIDEGATE_SEQUENCE_H

#include "gemm.h"
#include "point.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

struct Layout {
  int64_t T, B, I, H, U, I16; /* I16: blocks of 16 inputs */
  int64_t S, rows, slabs;     /* steps of a slab, its rows, how many slabs */

  explicit Layout(int64_t T_, int64_t B_, int64_t I_, int64_t H_)
      : T(T_), B(B_), I(I_), H(H_), U(blocks_of(H_)), I16(blocks_of(I_)) {
    const int64_t tall = B < 64 ? 64 / B : 1;
    S = tall < T ? tall : T;
    rows = S * B;
    slabs = (T + S - 1) / S;
  }
  int64_t steps_of(int64_t slab) const { return slab + 1 < slabs ? S : T - slab * S; }
  /* slabs whose rows together are about so many */
  int64_t slabs_for(int64_t wanted) const {
    const int64_t n = wanted / rows;
    return n < 1 ? 1 : n < slabs ? n : slabs;
  }
  int64_t state() const { return U * B * BLOCK; }
};

/* Shape of the arrays that forward hands to backward: gates by slabs, then, for a cell with a c, c after every step. */
template <typename Cell>
static int64_t saved_size(const Layout &l) {
  if (Cell::SLOTS == 1) return 0; /* the RNN's output is all that its backward needs */
  return l.slabs * Cell::SLOTS * l.U * l.rows * BLOCK + (Cell::HAS_C ? l.T * l.state() : 0);
}

template <typename P>
static void place(P &p, const tidegate_sequence &s, const Layout &l, int64_t t) {
  p.B = l.B, p.H = l.H, p.U = l.U, p.rows = l.rows;
  p.fresh = s.fresh, p.lengths = s.lengths;
  p.t = t, p.row = t % l.S * l.B;
  p.fresh_after = s.fresh != nullptr && t + 1 < l.T ? s.fresh + (t + 1) * l.B : nullptr;
}
}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
