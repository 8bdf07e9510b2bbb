/* exp, sigma and tanh in float32, to within two units in the last place of the true value, and the identities that tests
 * put in their place. exp stops at ±87, so that it neither overflows nor leaves the normal numbers: sigma of less than -87 is
 * 1.6e-38. */
#ifndef TIDEGATE_ACTIVATIONS_H
#define TIDEGATE_ACTIVATIONS_H

#include "simd.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

/* x = n ln 2 + r with |r| <= ln 2 / 2: two_to_n = 2^n, expm1_r = e^r - 1. x within ±87. The polynomial is that of
 * Cephes' expf (Moshier). */
struct ExpParts {
  vf two_to_n, expm1_r;
};

TIDEGATE_INLINE ExpParts exp_parts(vf x) {
  const vf magic = broadcast(12582912.0f); /* 1.5 · 2^23: adding it rounds to an integer, kept in the low bits */
  const vf t = fma(x, broadcast(1.44269504f), magic);
  const vf n = t - magic;
  vf r = fma(n, broadcast(-0.693359375f), x);
  r = fma(n, broadcast(2.12194440e-4f), r);
  vf p = fma(r, broadcast(1.9875691500e-4f), broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  const vi bits = (reinterpret_cast<vi>(t) << 23) + 0x3f800000;
  return {reinterpret_cast<vf>(bits), fma(p, r * r, r)};
}

TIDEGATE_INLINE vf exp(vf x) {
  const ExpParts e = exp_parts(clamp(x, -87.0f, 87.0f));
  return fma(e.two_to_n, e.expm1_r, e.two_to_n);
}

TIDEGATE_INLINE vf sigmoid(vf x) { return reciprocal(broadcast(1.0f) + exp(-x)); }

/* (e^2x - 1) / (e^2x + 1), by e^2x - 1 itself, which keeps every digit near 0; beyond ±10 it is ±1 in float32. */
TIDEGATE_INLINE vf tanh(vf x) {
  const ExpParts e = exp_parts(clamp(x + x, -20.0f, 20.0f));
  const vf expm1 = fma(e.two_to_n, e.expm1_r, e.two_to_n - broadcast(1.0f));
  return expm1 * reciprocal(expm1 + broadcast(2.0f));
}

/* The non-linearities of a cell, and their derivatives in terms of their own value. */
struct Smooth {
  TIDEGATE_INLINE Block sigma(Block x) { TIDEGATE_EACH x.v[i] = sigmoid(x.v[i]); return x; }
  TIDEGATE_INLINE Block tanh(Block x) { TIDEGATE_EACH x.v[i] = TIDEGATE_ISA_NAMESPACE::tanh(x.v[i]); return x; }
  TIDEGATE_INLINE Block d_sigma(Block s) { return s * (splat(1.0f) - s); }
  TIDEGATE_INLINE Block d_tanh(Block t) { return splat(1.0f) - t * t; }
};

/* The RNN's other non-linearity stands in tanh's place: relu' = 1 where the value is above 0. NaN stays NaN. */
struct Rectified : Smooth {
  TIDEGATE_INLINE Block tanh(Block x) { TIDEGATE_EACH x.v[i] = x.v[i] < broadcast(0.0f) ? broadcast(0.0f) : x.v[i]; return x; }
  TIDEGATE_INLINE Block d_tanh(Block t) {
    TIDEGATE_EACH t.v[i] = t.v[i] > broadcast(0.0f) ? broadcast(1.0f) : broadcast(0.0f);
    return t;
  }
};

struct Identity {
  TIDEGATE_INLINE Block sigma(Block x) { return x; }
  TIDEGATE_INLINE Block tanh(Block x) { return x; }
  TIDEGATE_INLINE Block d_sigma(Block) { return splat(1.0f); }
  TIDEGATE_INLINE Block d_tanh(Block) { return splat(1.0f); }
};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
