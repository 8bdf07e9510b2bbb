/* Vectors of the instruction set that this file is compiled for, and blocks of 16 floats made of them.
 *
 * Included once for each instruction set, always inside its own namespace: nothing here may be shared between two of
 * them, or the linker could give a CPU an instruction that it lacks. For the same reason no C++ library is used. */
#ifndef TIDEGATE_SIMD_H
#define TIDEGATE_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define TIDEGATE_UNROLL _Pragma("clang loop unroll(full)")
#define TIDEGATE_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define TIDEGATE_UNROLL _Pragma("GCC unroll 64")
#define TIDEGATE_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define TIDEGATE_INLINE static inline __attribute__((always_inline))

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

constexpr int BLOCK = 16; /* floats; every array inside the core is laid out in blocks of so many units */

#if defined(__AVX512F__)
constexpr int VECTOR = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int VECTOR = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int VECTOR = 4, REGISTERS = 32;
#else
#error "there are kernels for AVX2, AVX-512 and NEON"
#endif
constexpr int VECTORS = BLOCK / VECTOR; /* in a block */

typedef float vf __attribute__((vector_size(VECTOR * 4)));
typedef int32_t vi __attribute__((vector_size(VECTOR * 4)));
typedef float vf_unaligned __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

TIDEGATE_INLINE vf load(const float *p) { return *reinterpret_cast<const vf_unaligned *>(p); }
TIDEGATE_INLINE void store(float *p, vf v) { *reinterpret_cast<vf_unaligned *>(p) = v; }

#if defined(__AVX512F__)
TIDEGATE_INLINE vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
TIDEGATE_INLINE vf broadcast(float x) { return _mm512_set1_ps(x); }
/* 1 / d for normal d: the table's 14 bits, and one Newton step to 23 */
TIDEGATE_INLINE vf reciprocal(vf d) {
  const vf r = _mm512_rcp14_ps(d);
  return fma(r, fma(-d, r, broadcast(1.0f)), r);
}
#elif defined(__AVX2__)
TIDEGATE_INLINE vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
TIDEGATE_INLINE vf broadcast(float x) { return _mm256_set1_ps(x); }
TIDEGATE_INLINE vf reciprocal(vf d) { return broadcast(1.0f) / d; }
#else
TIDEGATE_INLINE vf fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
TIDEGATE_INLINE vf broadcast(float x) { return (vf)vdupq_n_f32(x); }
TIDEGATE_INLINE vf reciprocal(vf d) { return broadcast(1.0f) / d; }
#endif

/* NaN fails both comparisons and passes through. */
TIDEGATE_INLINE vf clamp(vf x, float low, float high) {
  const vf l = broadcast(low), h = broadcast(high);
  x = x < l ? l : x;
  return x > h ? h : x;
}

/* 16 floats of one lane: a block of units, in as many vectors as it takes. */
struct Block {
  vf v[VECTORS];
};

#define TIDEGATE_EACH TIDEGATE_UNROLL for (int i = 0; i < VECTORS; ++i)
TIDEGATE_INLINE Block load_block(const float *p) { Block r; TIDEGATE_EACH r.v[i] = load(p + i * VECTOR); return r; }
TIDEGATE_INLINE void store_block(float *p, Block x) { TIDEGATE_EACH store(p + i * VECTOR, x.v[i]); }
TIDEGATE_INLINE Block splat(float x) { Block r; TIDEGATE_EACH r.v[i] = broadcast(x); return r; }
TIDEGATE_INLINE Block operator+(Block a, Block b) { TIDEGATE_EACH a.v[i] += b.v[i]; return a; }
TIDEGATE_INLINE Block operator-(Block a, Block b) { TIDEGATE_EACH a.v[i] -= b.v[i]; return a; }
TIDEGATE_INLINE Block operator*(Block a, Block b) { TIDEGATE_EACH a.v[i] *= b.v[i]; return a; }
TIDEGATE_INLINE Block fma(Block a, Block b, Block c) { TIDEGATE_EACH c.v[i] = fma(a.v[i], b.v[i], c.v[i]); return c; }

/* The first `count` (1 … 16) floats of x, zeros after them. */
TIDEGATE_INLINE Block first_of(Block x, int count) {
  if (count == BLOCK) return x;
  alignas(64) float whole[BLOCK];
  store_block(whole, x);
  for (int i = count; i < BLOCK; ++i) whole[i] = 0.0f;
  return load_block(whole);
}

/* The first `count` (1 … 16) floats at p, zeros after them; nothing is read or written beyond. */
TIDEGATE_INLINE Block load_part(const float *p, int count) {
  if (count == BLOCK) return load_block(p);
  alignas(64) float whole[BLOCK] = {};
  memcpy(whole, p, static_cast<size_t>(count) * sizeof(float));
  return load_block(whole);
}
TIDEGATE_INLINE void store_part(float *p, Block x, int count) {
  if (count == BLOCK) return store_block(p, x);
  alignas(64) float whole[BLOCK];
  store_block(whole, x);
  memcpy(p, whole, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
