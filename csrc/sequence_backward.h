/* Backward through time: step by step the cell and the way to h_{t-1}; after every stretch of steps the products that wait
 * for nobody, into x and into the weights. */
#ifndef TIDEGATE_SEQUENCE_BACKWARD_H
#define TIDEGATE_SEQUENCE_BACKWARD_H

#include "sequence.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

/* A weight of which only a change of low rank is learnt, W = W_0 + B A. */
struct LowRank {
  const tidegate_low_rank *of = nullptr; /* NULL: not wanted */
  int64_t slot = 0, slots = 0;           /* the gates that it gives */
  size_t operand = 0;                    /* what it is multiplied by, in blocks, and how many columns that has */
  int64_t columns = 0;
  size_t A = 0, B = 0, operand_A = 0, gates_B = 0;

  int64_t R16() const { return blocks_of(of->rank); }
  void plan(Workspace &space, int64_t rows, int64_t U) {
    A = space.plan(R16() * columns_apart(blocks_of(columns)));
    B = space.plan(R16() * columns_apart(slots * U));
    operand_A = space.plan(R16() * rows * BLOCK);
    gates_B = space.plan(R16() * rows * BLOCK);
  }
};

template <typename Cell>
struct Backward {
  const tidegate_sequence &s;
  const tidegate_gradients_in &in;
  const tidegate_gradients_out &out;
  const Layout l;
  Workspace space;
  size_t weights_x, weights_h, inputs, before, reset, d_gates, carry, d_c, d_k, c_0;
  int64_t stretch;
  LowRank low[3]; /* W_ih, W_hh, and of a cell in two stages the part of W_hh that reads r h */
  static constexpr int H_PACKED = Cell::TWO_STAGES ? 3 : Cell::H_SLOTS;
  static constexpr int64_t SOME_COLUMNS = 12; /* blocks, see weight_rows */
  static constexpr int64_t EDGE = 64 * BLOCK; /* scratch of one thread, see multiply_into_x */

  Backward(const tidegate_sequence &s_, const tidegate_gradients_in &in_, const tidegate_gradients_out &out_)
      : s(s_), in(in_), out(out_), l(s.T, s.B, s.I, s.H) {
    stretch = l.slabs_for(256);
    weights_x = space.plan(out.d_x == nullptr ? 0 : l.I16 * columns_apart(Cell::X_SLOTS * l.U));
    weights_h = space.plan(l.U * columns_apart(H_PACKED * l.U));
    inputs = space.plan(stretch * l.I16 * l.rows * BLOCK);
    before = space.plan(stretch * l.U * l.rows * BLOCK);
    reset = space.plan(Cell::TWO_STAGES ? stretch * l.U * l.rows * BLOCK : 0);
    d_gates = space.plan(stretch * slab_size());
    carry = space.plan(l.state());
    d_c = space.plan(Cell::HAS_C ? l.state() : 0);
    d_k = space.plan(Cell::TWO_STAGES ? l.state() : 0);
    c_0 = space.plan(Cell::HAS_C ? l.state() : 0);
    low[0] = {out.low_rank_ih, Cell::X_FIRST, Cell::X_SLOTS, inputs, l.I};
    low[1] = {out.low_rank_hh, Cell::H_FIRST, Cell::H_SLOTS, before, l.H};
    low[2] = {Cell::TWO_STAGES ? out.low_rank_hh : nullptr, 2, 1, reset, l.H};
    for (LowRank &w : low)
      if (w.of != nullptr) w.plan(space, stretch * l.rows, l.U);
  }

  int64_t slab_size() const { return Cell::SLOTS * l.U * l.rows * BLOCK; }
  float *d_gates_of(int64_t slab, int64_t first) const { return space.at(d_gates) + (slab - first) * slab_size(); }
  const float *c_after(int64_t t) const {
    return t < 0 ? space.at(c_0) : in.saved + l.slabs * slab_size() + t * l.state();
  }
  bool active(int64_t t, int64_t b) const { return s.lengths == nullptr || t < s.lengths[b]; }

  void operator()(const Member &m) const {
    const Range units = share(l.U, m.thread, m.threads);
    pack_weights(m);
    begin(units);
    m.wait();
    for (int64_t after = l.slabs; after > 0; after -= after % stretch == 0 ? stretch : after % stretch) {
      const int64_t first = (after - 1) / stretch * stretch;
      const int64_t end = after * l.S < l.T ? after * l.S : l.T;
      for (int64_t t = end; t-- > first * l.S;) step(units, m, t, first);
      read_rows(m, first * l.S, end, first);
      m.wait();
      if (out.d_x != nullptr) multiply_into_x(m, first, after);
      const Begin how = after == l.slabs ? Begin::zero : Begin::accumulate;
      multiply_into_weights(m, first, after, how);
      if (out.low_rank_ih != nullptr || out.low_rank_hh != nullptr) {
        for (const LowRank &w : low)
          if (w.of != nullptr) multiply_by_low(w, m, first, after);
        m.wait();
        for (const LowRank &w : low)
          if (w.of != nullptr) multiply_into_low(w, m, first, after, how);
      }
      m.wait();
    }
    finish(units);
  }

  /* Rows of gates, as they are, into blocks of columns; rows beyond the real units are zeros. */
  void pack_columns(const Member &m, const float *weight, int64_t columns, int first_slot, int slots, float *to) const {
    const int64_t apart = columns_apart(slots * l.U);
    for (int i = 0; i < slots; ++i) {
      const Range mine = share(l.U * BLOCK, m.thread, m.threads, BLOCK);
      if (mine.size() == 0) continue;
      const int64_t real = mine.end < l.H ? mine.end : l.H, gate = Cell::gate_of(first_slot + i);
      float *at = to + (i * l.U * BLOCK + mine.begin) * BLOCK;
      pack_rows(weight + (gate * l.H + mine.begin) * columns, columns, real - mine.begin, columns, at, apart);
      for (int64_t n = 0; n < blocks_of(columns); ++n)
        for (int64_t r = real; r < mine.end; ++r) store_block(at + n * apart + (r - mine.begin) * BLOCK, splat(0.0f));
    }
  }

  void pack_weights(const Member &m) const {
    pack_columns(m, s.weight_hh, l.H, Cell::H_FIRST, H_PACKED, space.at(weights_h));
    if (out.d_x != nullptr) pack_columns(m, s.weight_ih, l.I, Cell::X_FIRST, Cell::X_SLOTS, space.at(weights_x));
    for (const LowRank &w : low) {
      if (w.of == nullptr) continue;
      pack_columns(m, w.of->B, w.of->rank, w.slot, w.slots, space.at(w.B));
      const Range mine = share(w.R16(), m.thread, m.threads);
      for (int64_t n = mine.begin; n < mine.end; ++n)
        pack_transposed(w.of->A + n * BLOCK * w.columns, w.columns, part_of(w.of->rank, n), w.columns, blocks_of(w.columns),
                        space.at(w.A) + n * columns_apart(blocks_of(w.columns)));
    }
  }

  void begin(Range units) const {
    for (int64_t u = units.begin; u < units.end; ++u)
      for (int64_t b = 0; b < l.B; ++b) {
        const int64_t at = (u * l.B + b) * BLOCK, from = b * l.H + u * BLOCK;
        const int real = part_of(l.H, u);
        const auto given = [&](const float *p) { return p == nullptr ? splat(0.0f) : load_part(p + from, real); };
        store_block(space.at(carry) + at, given(in.d_h_T));
        if (Cell::HAS_C) store_block(space.at(d_c) + at, given(in.d_c_T)), store_block(space.at(c_0) + at, given(s.c_0));
      }
  }

  PointBack point(int64_t t, int64_t first) const {
    PointBack p;
    place(p, s, l, t);
    p.gates = Cell::SLOTS == 1 ? nullptr : in.saved + t / l.S * slab_size();
    p.c = Cell::HAS_C ? c_after(t) : nullptr, p.c_before = Cell::HAS_C ? c_after(t - 1) : nullptr;
    p.h = in.h + t * l.B * l.H, p.h_before = t == 0 ? s.h_0 : in.h + (t - 1) * l.B * l.H;
    p.d_h = in.d_h == nullptr ? nullptr : in.d_h + t * l.B * l.H;
    p.d_gates = d_gates_of(t / l.S, first);
    p.carry = space.at(carry), p.d_c = space.at(d_c), p.d_k = space.at(d_k);
    return p;
  }

  void step(Range units, const Member &m, int64_t t, int64_t first) const {
    const PointBack p = point(t, first);
    if constexpr (Cell::TWO_STAGES) {
      for (int64_t u = units.begin; u < units.end; ++u) Cell::backward_first(p, u);
      m.wait();
      multiply_back(p, units, 2, 1, p.d_k, Begin::zero);
    }
    for (int64_t u = units.begin; u < units.end; ++u) Cell::backward(p, u);
    m.wait();
    if (t == 0 && out.d_h_0 == nullptr) return;
    /* lanes that have ended wait in carry: the product is added to it */
    multiply_back(p, units, Cell::H_FIRST, Cell::H_SLOTS, p.carry,
                  Cell::CARRIES || s.lengths != nullptr ? Begin::accumulate : Begin::zero);
  }

  /* (U, B, 16) of this member's units: Σ over `slots` slots of d_gates by W_hh. */
  void multiply_back(const PointBack &p, Range units, int slot, int slots, float *to, Begin how) const {
    const int64_t apart = columns_apart(H_PACKED * l.U), k = (slot - Cell::H_FIRST) * l.U * BLOCK;
    const int64_t at = units.begin * l.B * BLOCK;
    rows_product({p.d_slot(slot, 0, 0), l.rows * BLOCK,
                  space.at(weights_h) + units.begin * apart + k * BLOCK, apart, slots * l.U, how, nullptr},
                 l.B, units.size(), {to + at, BLOCK, l.B * BLOCK});
  }

  /* The rows of x and of h_{t-1} that the weights' gradients need, blocked. A lane that has ended gives zeros: its x may be
   * anything, even NaN, and its gates' gradients are zeros. */
  void read_rows(const Member &m, int64_t begin, int64_t end, int64_t first) const {
    const Range steps = share(end - begin, m.thread, m.threads);
    for (int64_t t = begin + steps.begin; t < begin + steps.end; ++t) {
      const int64_t slab = t / l.S - first, row = t % l.S * l.B;
      float *x = space.at(inputs) + (slab * l.I16 * l.rows + row) * BLOCK;
      float *h = space.at(before) + (slab * l.U * l.rows + row) * BLOCK;
      pack_rows(s.x + t * l.B * l.I, l.I, l.B, l.I, x, l.rows * BLOCK);
      const float *h_before = t == 0 ? s.h_0 : in.h + (t - 1) * l.B * l.H;
      if (h_before != nullptr) pack_rows(h_before, l.H, l.B, l.H, h, l.rows * BLOCK);
      for (int64_t b = 0; b < l.B; ++b) {
        const bool ended = !active(t, b);
        if (ended || h_before == nullptr || (s.fresh != nullptr && s.fresh[t * l.B + b] != 0)) clear(h, b, l.U);
        if (ended) clear(x, b, l.I16);
      }
      if constexpr (Cell::TWO_STAGES) reset_rows(t, slab, row, h);
    }
  }

  void clear(float *rows, int64_t b, int64_t blocks) const {
    for (int64_t u = 0; u < blocks; ++u) store_block(rows + (u * l.rows + b) * BLOCK, splat(0.0f));
  }

  /* k = r h_{t-1}, what W_hn read. */
  void reset_rows(int64_t t, int64_t slab, int64_t row, const float *h) const {
    const float *r = in.saved + t / l.S * slab_size() + row * BLOCK;
    float *to = space.at(reset) + (slab * l.U * l.rows + row) * BLOCK;
    for (int64_t u = 0; u < l.U; ++u)
      for (int64_t b = 0; b < l.B; ++b) {
        const int64_t at = (u * l.rows + b) * BLOCK;
        store_block(to + at, active(t, b) ? load_block(r + at) * load_block(h + at) : splat(0.0f));
      }
  }

  /* d_x of a stretch: this member's blocks of inputs, all rows. The last block may reach beyond the real inputs: it goes
   * through a scratch of at most 64 rows at a time. */
  void multiply_into_x(const Member &m, int64_t first, int64_t after) const {
    const Range mine = share(l.I16, m.thread, m.threads);
    const int64_t apart = columns_apart(Cell::X_SLOTS * l.U), group = cut_rows(l.rows).blocks;
    const int64_t whole = l.I / BLOCK;
    alignas(64) float edge[EDGE];
    for (int64_t n = mine.begin; n < mine.end;) {
      const int64_t limit = n < whole ? (mine.end < whole ? mine.end : whole) : mine.end;
      const int64_t blocks = limit - n < group ? limit - n : group;
      for (int64_t slab = first; slab < after; ++slab) {
        const int64_t rows = l.steps_of(slab) * l.B;
        float *d_x = out.d_x + slab * l.rows * l.I + n * BLOCK;
        Rows p{d_gates_of(slab, first) + Cell::X_FIRST * l.U * l.rows * BLOCK, l.rows * BLOCK,
               space.at(weights_x) + n * apart, apart, Cell::X_SLOTS * l.U, Begin::zero, nullptr};
        if (n < whole) {
          rows_product(p, rows, blocks, {d_x, l.I, BLOCK});
          continue;
        }
        for (int64_t r = 0; r < rows; r += 64, p.a += 64 * BLOCK) {
          const int64_t some = rows - r < 64 ? rows - r : 64;
          rows_product(p, some, 1, {edge, BLOCK, BLOCK});
          for (int64_t i = 0; i < some; ++i) store_part(d_x + (r + i) * l.I, load_block(edge + i * BLOCK), part_of(l.I, n));
        }
      }
      n += blocks;
    }
  }

  /* Blocks of 16 rows of both weights' gradients are shared out; each is a product over all rows of the stretch. */
  void multiply_into_weights(const Member &m, int64_t first, int64_t after, Begin how) const {
    const Range from_x = share(Cell::X_SLOTS * l.U, m.thread, m.threads), from_h = share(H_PACKED * l.U, m.thread, m.threads);
    weight_rows(Cell::X_FIRST, from_x, first, after, how, inputs, l.I, out.d_weight_ih, out.d_bias_ih);
    if (!Cell::TWO_STAGES) {
      weight_rows(Cell::H_FIRST, from_h, first, after, how, before, l.H, out.d_weight_hh, out.d_bias_hh);
      return;
    }
    const int64_t split = 2 * l.U; /* n's rows read r h_{t-1} */
    weight_rows(Cell::H_FIRST, {from_h.begin, from_h.end < split ? from_h.end : split}, first, after, how, before, l.H,
                out.d_weight_hh, out.d_bias_hh);
    weight_rows(Cell::H_FIRST, {from_h.begin > split ? from_h.begin : split, from_h.end}, first, after, how, reset, l.H,
                out.d_weight_hh, out.d_bias_hh);
  }

  /* Rows `mine` of a weight's gradient, in blocks of 16 counted from slot `slot` on. Some columns at a time, so that what
   * they are multiplied by stays in the cache while all rows pass. */
  void weight_rows(int64_t slot, Range mine, int64_t first, int64_t after, Begin how, size_t operand, int64_t columns,
                   float *d_weight, float *d_bias) const {
    const int64_t blocks = blocks_of(columns), last = l.steps_of(after - 1) * l.B;
    for (int64_t n = 0; n < blocks && d_weight != nullptr; n += SOME_COLUMNS)
      for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t some = blocks - n < SOME_COLUMNS ? blocks - n : SOME_COLUMNS;
        outer_product({d_gates_of(first, first) + (slot * l.U + i) * l.rows * BLOCK, slab_size(),
                       space.at(operand) + n * l.rows * BLOCK, blocks * l.rows * BLOCK, l.rows * BLOCK, after - first, l.rows,
                       last, how},
                      part_of(l.H, i % l.U), some, columns - n * BLOCK,
                      {d_weight + row_of(slot, i) * columns + n * BLOCK, columns, BLOCK});
      }
    for (int64_t i = mine.begin; i < mine.end && d_bias != nullptr; ++i) {
      const int part = part_of(l.H, i % l.U);
      float *to = d_bias + row_of(slot, i);
      Block sum = how == Begin::zero ? splat(0.0f) : load_part(to, part);
      for (int64_t slab = first; slab < after; ++slab) {
        const float *a = d_gates_of(slab, first) + (slot * l.U + i) * l.rows * BLOCK;
        for (int64_t r = 0; r < l.steps_of(slab) * l.B; ++r) sum = sum + load_block(a + r * BLOCK);
      }
      store_part(to, sum, part);
    }
  }

  /* Every row's x Aᵀ and d_gates B, `rank` numbers each: the two sides between which d_B and d_A are outer products. */
  void multiply_by_low(const LowRank &w, const Member &m, int64_t first, int64_t after) const {
    const int64_t parts = blocks_of(l.rows), K16 = blocks_of(w.columns), wide = w.R16() * l.rows * BLOCK;
    const Range mine = share((after - first) * parts, m.thread, m.threads);
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const int64_t slab = first + i / parts, row = i % parts * BLOCK, left = l.steps_of(slab) * l.B - row;
      if (left <= 0) continue;
      const int64_t rows = left < BLOCK ? left : BLOCK, at = (slab - first) * wide + row * BLOCK;
      rows_product({space.at(w.operand) + ((slab - first) * K16 * l.rows + row) * BLOCK, l.rows * BLOCK, space.at(w.A),
                    columns_apart(K16), K16, Begin::zero, nullptr},
                   rows, w.R16(), {space.at(w.operand_A) + at, BLOCK, l.rows * BLOCK});
      rows_product({d_gates_of(slab, first) + (w.slot * l.U * l.rows + row) * BLOCK, l.rows * BLOCK, space.at(w.B),
                    columns_apart(w.slots * l.U), w.slots * l.U, Begin::zero, nullptr},
                   rows, w.R16(), {space.at(w.gates_B) + at, BLOCK, l.rows * BLOCK});
    }
  }

  void multiply_into_low(const LowRank &w, const Member &m, int64_t first, int64_t after, Begin how) const {
    const int64_t last = l.steps_of(after - 1) * l.B, blocks = blocks_of(w.columns);
    weight_rows(w.slot, share(w.slots * l.U, m.thread, m.threads), first, after, how, w.operand_A, w.of->rank, w.of->d_B, nullptr);
    const Range mine = share(blocks, m.thread, m.threads);
    if (mine.size() == 0) return;
    const int64_t begin = mine.begin * BLOCK, end = mine.end * BLOCK < w.columns ? mine.end * BLOCK : w.columns;
    for (int64_t i = 0; i < w.R16(); ++i)
      outer_product({space.at(w.gates_B) + i * l.rows * BLOCK, w.R16() * l.rows * BLOCK,
                     space.at(w.operand) + mine.begin * l.rows * BLOCK, blocks * l.rows * BLOCK, l.rows * BLOCK, after - first,
                     l.rows, last, &w == &low[2] ? Begin::accumulate : how},
                    part_of(w.of->rank, i), mine.size(), end - begin, {w.of->d_A + i * BLOCK * w.columns + begin, w.columns, BLOCK});
  }

  int64_t row_of(int64_t slot, int64_t i) const { return Cell::gate_of(static_cast<int>(slot + i / l.U)) * l.H + i % l.U * BLOCK; }

  void finish(Range units) const {
    for (int64_t b = 0; b < l.B; ++b)
      for (int64_t u = units.begin; u < units.end; ++u) {
        const int64_t at = (u * l.B + b) * BLOCK, to = b * l.H + u * BLOCK;
        const bool cut = s.fresh != nullptr && s.fresh[b] != 0 && active(0, b);
        const auto give = [&](float *p, size_t from) {
          if (p != nullptr) store_part(p + to, cut ? splat(0.0f) : load_block(space.at(from) + at), part_of(l.H, u));
        };
        give(out.d_h_0, carry);
        if (Cell::HAS_C) give(out.d_c_0, d_c);
      }
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
