/* What each instruction set's kernels offer to dispatch.cpp. */
#ifndef TIDEGATE_DISPATCH_H
#define TIDEGATE_DISPATCH_H

#include "tidegate.h"

namespace tidegate {

struct Kernels {
  int64_t (*saved_size)(int cell, int64_t T, int64_t B, int64_t I, int64_t H);
  const char *(*forward)(const tidegate_sequence &, float *, float *, float *, float *, const tidegate_threads *);
  const char *(*backward)(const tidegate_sequence &, const tidegate_gradients_in &, const tidegate_gradients_out &,
                          const tidegate_threads *);
  const char *(*linear_cross_entropy)(const tidegate_linear_cross_entropy &, float *, float *, float *, float *,
                                      const tidegate_threads *);
  const char *(*linear)(const tidegate_linear &, float *, const tidegate_threads *);
  void *(*decoder_new)(int cell, int layers, int64_t I, int64_t H, const tidegate_layer *, bool residual, float eps,
                       const char **error);
  void (*decoder_free)(void *);
  const char *(*decoder_step)(const void *, int64_t, const float *, const float *, const float *, float *, float *, float *,
                              const tidegate_threads *);
  double (*peak)(double seconds, const tidegate_threads *);
};

namespace avx2 { extern const Kernels KERNELS; }
namespace avx512 { extern const Kernels KERNELS; }
namespace avx512_bf16 { extern const Kernels KERNELS; }
namespace neon { extern const Kernels KERNELS; }

}  // namespace tidegate
#endif
