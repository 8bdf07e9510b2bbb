/* Forward through time: for a stretch of steps the products with x, then step by step those with h and the cell. */
#ifndef TIDEGATE_SEQUENCE_FORWARD_H
#define TIDEGATE_SEQUENCE_FORWARD_H

#include "sequence.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

template <typename Cell>
struct Forward {
  const tidegate_sequence &s;
  float *h, *h_T, *c_T, *saved;
  const Layout l;
  Workspace space;
  size_t weights_x, weights_h, biases, inputs, gates, states, cells, k;
  int64_t stretch; /* slabs whose products with x are computed at a time: they and their gates stay in the cache */
  static constexpr int H_PACKED = Cell::TWO_STAGES ? 3 : Cell::H_SLOTS;

  Forward(const tidegate_sequence &s_, float *h_, float *h_T_, float *c_T_, float *saved_)
      : s(s_), h(h_), h_T(h_T_), c_T(c_T_), saved(Cell::SLOTS == 1 ? nullptr : saved_), l(s.T, s.B, s.I, s.H) {
    stretch = l.slabs_for(128);
    weights_x = space.plan(Cell::X_SLOTS * l.U * columns_apart(l.I16));
    weights_h = space.plan(H_PACKED * l.U * columns_apart(l.U));
    biases = space.plan(Cell::SLOTS * l.U * BLOCK);
    inputs = space.plan(stretch * l.I16 * l.rows * BLOCK);
    gates = space.plan(saved != nullptr ? 0 : stretch * slab_size());
    states = space.plan(2 * l.state());
    cells = space.plan(Cell::HAS_C ? 2 * l.state() : 0);
    k = space.plan(Cell::TWO_STAGES ? l.state() : 0);
  }

  int64_t slab_size() const { return Cell::SLOTS * l.U * l.rows * BLOCK; }
  float *gates_of(int64_t slab) const {
    return saved != nullptr ? saved + slab * slab_size() : space.at(gates) + slab % stretch * slab_size();
  }
  float *state_of(int64_t t) const { return space.at(states) + t % 2 * l.state(); }
  float *c_before(int64_t t) const {
    return saved != nullptr && t > 0 ? saved + l.slabs * slab_size() + (t - 1) * l.state()
                                     : space.at(cells) + t % 2 * l.state();
  }
  float *c_after(int64_t t) const {
    return saved != nullptr ? saved + l.slabs * slab_size() + t * l.state() : space.at(cells) + (t + 1) % 2 * l.state();
  }

  void operator()(const Member &m) const {
    const Range units = share(l.U, m.thread, m.threads);
    pack_weights(m);
    begin(units);
    m.wait();
    for (int64_t first = 0; first < l.slabs; first += stretch) {
      const int64_t after = first + stretch < l.slabs ? first + stretch : l.slabs;
      read_inputs(m, first, after);
      m.wait();
      multiply_inputs(units, first, after);
      const int64_t end = after * l.S < l.T ? after * l.S : l.T;
      for (int64_t t = first * l.S; t < end; ++t) {
        step(units, m, t);
        m.wait();
      }
    }
    finish(units);
  }

  /* Each gate's rows, 16 at a time, transposed into blocks of columns; biases summed where they only ever add up. */
  void pack_weights(const Member &m) const {
    for (int64_t slot = 0; slot < Cell::SLOTS; ++slot) {
      const int64_t gate = Cell::gate_of(static_cast<int>(slot)), x_slot = slot - Cell::X_FIRST, h_slot = slot - Cell::H_FIRST;
      const bool from_x = x_slot >= 0 && x_slot < Cell::X_SLOTS, from_h = h_slot >= 0 && h_slot < H_PACKED;
      const Range mine = share(l.U, m.thread, m.threads);
      for (int64_t u = mine.begin; u < mine.end; ++u) {
        const int part = part_of(l.H, u);
        const int64_t row = gate * l.H + u * BLOCK;
        if (from_x)
          pack_transposed(s.weight_ih + row * l.I, l.I, part, l.I, l.I16,
                          space.at(weights_x) + (x_slot * l.U + u) * columns_apart(l.I16));
        if (from_h)
          pack_transposed(s.weight_hh + row * l.H, l.H, part, l.H, l.U,
                          space.at(weights_h) + (h_slot * l.U + u) * columns_apart(l.U));
        Block b = splat(0.0f);
        if (from_x && s.bias_ih != nullptr) b = b + load_part(s.bias_ih + row, part);
        if ((!from_x || !Cell::bias_apart(static_cast<int>(slot))) && s.bias_hh != nullptr)
          b = b + load_part(s.bias_hh + row, part);
        store_block(space.at(biases) + (slot * l.U + u) * BLOCK, b);
      }
    }
  }

  bool restarts_at_once(int64_t b) const {
    return s.fresh != nullptr && s.fresh[b] != 0 && (s.lengths == nullptr || s.lengths[b] > 0);
  }

  void begin(Range units) const {
    for (int64_t u = units.begin; u < units.end; ++u)
      for (int64_t b = 0; b < l.B; ++b) {
        const int64_t at = (u * l.B + b) * BLOCK, from = b * l.H + u * BLOCK;
        const Block zero = splat(0.0f);
        store_block(state_of(0) + at, s.h_0 == nullptr || restarts_at_once(b) ? zero : load_part(s.h_0 + from, part_of(l.H, u)));
        if (Cell::HAS_C)
          store_block(c_before(0) + at, s.c_0 == nullptr ? zero : load_part(s.c_0 + from, part_of(l.H, u)));
      }
  }

  void read_inputs(const Member &m, int64_t first, int64_t after) const {
    const int64_t end = after * l.S < l.T ? after * l.S : l.T, count = end - first * l.S;
    const Range steps = share(count, m.thread, m.threads);
    for (int64_t i = steps.begin; i < steps.end; ++i) {
      const int64_t t = first * l.S + i, row = t % l.S * l.B;
      pack_rows(s.x + t * l.B * l.I, l.I, l.B, l.I,
                space.at(inputs) + (t / l.S - first) * l.I16 * l.rows * BLOCK + row * BLOCK, l.rows * BLOCK);
    }
  }

  void multiply_inputs(Range units, int64_t first, int64_t after) const {
    const int64_t group = cut_rows(l.rows).blocks;
    for (int64_t slot = Cell::X_FIRST; slot < Cell::X_FIRST + Cell::X_SLOTS; ++slot)
      for (int64_t u = units.begin; u < units.end; u += group) {
        const int64_t n = units.end - u < group ? units.end - u : group;
        for (int64_t slab = first; slab < after; ++slab) {
          const float *x = space.at(inputs) + (slab - first) * l.I16 * l.rows * BLOCK;
          const float *weights = space.at(weights_x) + ((slot - Cell::X_FIRST) * l.U + u) * columns_apart(l.I16);
          rows_product({x, l.rows * BLOCK, weights, columns_apart(l.I16), l.I16, Begin::bias,
                        space.at(biases) + (slot * l.U + u) * BLOCK},
                       l.steps_of(slab) * l.B, n,
                       {gates_of(slab) + (slot * l.U + u) * l.rows * BLOCK, BLOCK, l.rows * BLOCK});
        }
      }
  }

  /* One slot's product with a (U, B, 16) state, onto the gates of step p.t. */
  void multiply_state(const Point &p, const float *state, int64_t slot, int64_t u, int64_t n, Begin how) const {
    const float *weights = space.at(weights_h) + ((slot - Cell::H_FIRST) * l.U + u) * columns_apart(l.U);
    rows_product({state, l.B * BLOCK, weights, columns_apart(l.U), l.U, how,
                  space.at(biases) + (slot * l.U + u) * BLOCK},
                 l.B, n, {p.slot(static_cast<int>(slot), u, 0), BLOCK, l.rows * BLOCK});
  }

  void step(Range units, const Member &m, int64_t t) const {
    Point p;
    place(p, s, l, t);
    p.gates = gates_of(t / l.S), p.h_before = state_of(t), p.h_after = state_of(t + 1);
    p.c_before = Cell::HAS_C ? c_before(t) : nullptr, p.c = Cell::HAS_C ? c_after(t) : nullptr;
    p.k = space.at(k), p.h = h + t * l.B * l.H, p.saves = saved != nullptr;
    const int64_t group = cut_rows(l.B).blocks;
    for (int64_t u = units.begin; u < units.end; u += group) {
      const int64_t n = units.end - u < group ? units.end - u : group;
      for (int64_t slot = Cell::H_FIRST; slot < Cell::H_FIRST + Cell::H_SLOTS; ++slot)
        multiply_state(p, p.h_before, slot, u, n, slot < Cell::X_FIRST ? Begin::bias : Begin::accumulate);
      for (int64_t i = u; i < u + n; ++i)
        if constexpr (Cell::TWO_STAGES) Cell::first(p, i);
        else Cell::forward(p, i);
    }
    if constexpr (Cell::TWO_STAGES) {
      m.wait();
      for (int64_t u = units.begin; u < units.end; u += group) {
        const int64_t n = units.end - u < group ? units.end - u : group;
        multiply_state(p, p.k, 2, u, n, Begin::accumulate);
        for (int64_t i = u; i < u + n; ++i) Cell::forward(p, i);
      }
    }
  }

  void finish(Range units) const {
    for (int64_t b = 0; b < l.B; ++b)
      for (int64_t u = units.begin; u < units.end; ++u) {
        const int64_t at = (u * l.B + b) * BLOCK, to = b * l.H + u * BLOCK;
        store_part(h_T + to, load_block(state_of(l.T) + at), part_of(l.H, u));
        if (Cell::HAS_C) store_part(c_T + to, load_block(c_after(l.T - 1) + at), part_of(l.H, u));
      }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
