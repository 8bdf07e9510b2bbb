/* What a cell's point-wise part sees of one step: where its gates, states and gradients lie. */
#ifndef TIDEGATE_POINT_H
#define TIDEGATE_POINT_H

#include "pack.h"
#include "team.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

/* Lanes, resets and ends at step t; shared by both directions. */
struct Step {
  int64_t t, B, H, U; /* U: blocks of units */
  const uint8_t *fresh;
  const int64_t *lengths;
  int64_t rows, row; /* rows of a slab, and that of lane 0 at this step */

  bool is_fresh(int64_t b) const { return fresh != nullptr && fresh[t * B + b] != 0; }
  bool is_active(int64_t b) const { return lengths == nullptr || t < lengths[b]; }
  /* a block of a state's (U, B, 16) */
  int64_t unit(int64_t u, int64_t b) const { return (u * B + b) * BLOCK; }
  int64_t gate(int64_t slot, int64_t u, int64_t b) const { return ((slot * U + u) * rows + row + b) * BLOCK; }
};

struct Point : Step {
  float *gates;                       /* the slab: (SLOTS · U, rows, 16) */
  const float *h_before, *c_before;   /* (U, B, 16); h_before is zeros where fresh */
  float *h_after, *c, *k;             /* (U, B, 16) */
  float *h;                           /* (B, H): this step's output */
  const uint8_t *fresh_after;         /* (B,): fresh at t + 1, or NULL */
  bool saves;

  float *slot(int s, int64_t u, int64_t b) const { return gates + gate(s, u, b); }
  /* A pre-activation. Units that are not real are 0 from here on, whatever came of an infinite input: a NaN in one of
   * them would reach the real ones through the products, 0 times NaN. */
  Block pre(int s, int64_t u, int64_t b, int part) const { return first_of(load_block(slot(s, u, b)), part); }

  /* Hand h to the output and to the next step. */
  TIDEGATE_INLINE void put(const Point &p, int64_t u, int64_t b, Block h, int part) {
    float *output = p.h + b * p.H + u * BLOCK, *next = p.h_after + p.unit(u, b);
    if (!p.is_active(b)) {
      store_part(output, splat(0.0f), part);
      h = load_block(p.h_before + p.unit(u, b));
    } else {
      store_part(output, h, part);
    }
    const bool restarts = p.fresh_after != nullptr && p.fresh_after[b] != 0 && (p.lengths == nullptr || p.t + 1 < p.lengths[b]);
    store_block(next, restarts ? splat(0.0f) : h);
  }
  void put_h(int64_t u, int64_t b, Block h, int part) const { put(*this, u, b, h, part); }
};

struct PointBack : Step {
  const float *gates;         /* forward's slab */
  const float *c, *c_before;  /* (U, B, 16) */
  const float *h;             /* (B, H): this step's output */
  const float *h_before;      /* (B, H): row-major; NULL means zeros */
  const float *d_h;           /* (B, H): gradient of the output; NULL means zeros */
  float *d_gates;             /* the slab of their gradients */
  float *carry, *d_c, *d_k;   /* (U, B, 16): what step t + 1 sent to h_t and c_t, on return what goes to t - 1 */
  const uint8_t *fresh_after; /* (B,): nothing flows back across a lane that is fresh at t + 1 */

  const float *slot(int s, int64_t u, int64_t b) const { return gates + gate(s, u, b); }
  float *d_slot(int s, int64_t u, int64_t b) const { return d_gates + gate(s, u, b); }

  bool cut(int64_t b) const {
    return fresh_after != nullptr && fresh_after[b] != 0 && (lengths == nullptr || t + 1 < lengths[b]);
  }
  Block d_h_of(int64_t u, int64_t b, int part) const {
    Block d = cut(b) ? splat(0.0f) : first_of(load_block(carry + unit(u, b)), part);
    return d_h == nullptr ? d : d + load_part(d_h + b * H + u * BLOCK, part);
  }
  Block d_c_of(int64_t u, int64_t b) const { return cut(b) ? splat(0.0f) : load_block(d_c + unit(u, b)); }
  Block h_before_of(int64_t u, int64_t b, int part) const {
    return h_before == nullptr || is_fresh(b) ? splat(0.0f) : load_part(h_before + b * H + u * BLOCK, part);
  }
  /* A lane that has ended: no gradient at its gates; carry and d_c wait as they are. */
  template <int SLOTS>
  void skip(int64_t u, int64_t b) const {
    for (int s = 0; s < SLOTS; ++s) store_block(d_slot(s, u, b), splat(0.0f));
  }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
