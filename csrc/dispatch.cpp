/* The C interface: chooses the kernels that this CPU can run, checks what it is given, and hands it on. */
#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

namespace {

using tidegate::Kernels;

struct Candidate {
  const char *name;
  const Kernels *kernels;
  bool (*runs)();
};

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512_bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
}
#else
bool always() { return true; }
#endif

/* Best first. */
const Candidate CANDIDATES[] = {
#if defined(TIDEGATE_WITH_AVX512_BF16)
    {"avx512_bf16", &tidegate::avx512_bf16::KERNELS, has_avx512_bf16},
#endif
#if defined(TIDEGATE_WITH_AVX512)
    {"avx512", &tidegate::avx512::KERNELS, has_avx512},
#endif
#if defined(TIDEGATE_WITH_AVX2)
    {"avx2", &tidegate::avx2::KERNELS, has_avx2},
#endif
#if defined(TIDEGATE_WITH_NEON)
    {"neon", &tidegate::neon::KERNELS, always},
#endif
    {nullptr, nullptr, nullptr}};

struct Choice {
  const Candidate *chosen = nullptr;
  std::string all, reason;

  Choice() {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    const char *wanted = std::getenv("TIDEGATE_ISA");
    const bool forced = wanted != nullptr && *wanted != '\0';
    const Candidate *best = nullptr;
    for (const Candidate *c = CANDIDATES; c->name != nullptr; ++c) {
      if (!c->runs()) continue;
      if (best == nullptr) best = c;
      all += (all.empty() ? "" : " ") + std::string(c->name);
      if (forced && std::strcmp(wanted, c->name) == 0) chosen = c;
    }
    if (best == nullptr) {
      reason = "No kernels run: this CPU has none of the instruction sets that the core was built for (AVX2 with FMA, "
               "AVX-512, NEON).";
    } else if (!forced) {
      chosen = best;
      reason = std::string(best->name) + " is the best that this CPU has.";
    } else if (chosen != nullptr) {
      reason = std::string(chosen->name) + " is forced by TIDEGATE_ISA; this CPU has: " + all + ".";
    } else {
      chosen = best;
      reason = "TIDEGATE_ISA is '" + std::string(wanted) + "', but this CPU and this build have: " + all + "; " + best->name +
               " runs instead.";
    }
  }
};

const Choice &choice() {
  static const Choice made;
  return made;
}

const Kernels *kernels() { return choice().chosen == nullptr ? nullptr : choice().chosen->kernels; }

const char NO_KERNELS[] = "No kernels run on this CPU.";

bool is_lstm(int cell) { return (cell & ~TIDEGATE_IDENTITY) == TIDEGATE_LSTM; }

/* Above this a product of sizes could overflow; no machine has the memory. */
constexpr int64_t MOST = int64_t{1} << 31;

const char *check_sizes(int64_t T, int64_t B, int64_t I, int64_t H) {
  if (T < 1 || B < 1 || I < 1 || H < 1) return "T, B, I and H must each be at least 1.";
  if (T >= MOST || B >= MOST || I >= MOST || H >= MOST || T >= (int64_t{1} << 40) / B || H >= (int64_t{1} << 40) / (I + H))
    return "T, B, I or H is too large.";
  return nullptr;
}

const char *check(const tidegate_sequence *s) {
  if (s == nullptr || s->x == nullptr || s->weight_ih == nullptr || s->weight_hh == nullptr)
    return "x, weight_ih and weight_hh must be given.";
  if (const char *wrong = check_sizes(s->T, s->B, s->I, s->H)) return wrong;
  if (!is_lstm(s->cell) && s->c_0 != nullptr) return "c_0 was given, but only the LSTM has a c.";
  for (int64_t b = 0; s->lengths != nullptr && b < s->B; ++b)
    if (s->lengths[b] < 0 || s->lengths[b] > s->T) return "Each length must be from 0 to T.";
  return nullptr;
}

}  // namespace

struct tidegate_decoder {
  const Kernels *kernels;
  void *decoder;
  bool has_c;
};

extern "C" {

const char *tidegate_isa(void) { return choice().chosen == nullptr ? nullptr : choice().chosen->name; }
const char *tidegate_isas(void) { return choice().all.c_str(); }
const char *tidegate_isa_reason(void) { return choice().reason.c_str(); }

double tidegate_peak_flops(double seconds, const tidegate_threads *threads) {
  return kernels() == nullptr ? 0.0 : kernels()->peak(seconds, threads);
}

int64_t tidegate_saved_size(int cell, int64_t T, int64_t B, int64_t I, int64_t H) {
  return kernels() == nullptr || check_sizes(T, B, I, H) != nullptr ? -1 : kernels()->saved_size(cell, T, B, I, H);
}

const char *tidegate_sequence_forward(const tidegate_sequence *sequence, float *h, float *h_T, float *c_T, float *saved,
                                      const tidegate_threads *threads) {
  if (kernels() == nullptr) return NO_KERNELS;
  if (const char *wrong = check(sequence)) return wrong;
  if (h == nullptr || h_T == nullptr || (c_T == nullptr) == is_lstm(sequence->cell))
    return "h, h_T and, for the LSTM alone, c_T must be given.";
  return kernels()->forward(*sequence, h, h_T, c_T, saved, threads);
}

const char *tidegate_sequence_backward(const tidegate_sequence *sequence, const tidegate_gradients_in *in,
                                       const tidegate_gradients_out *out, const tidegate_threads *threads) {
  if (kernels() == nullptr) return NO_KERNELS;
  if (const char *wrong = check(sequence)) return wrong;
  if (in == nullptr || out == nullptr || in->h == nullptr) return "h, forward's output, must be given.";
  if (in->saved == nullptr && kernels()->saved_size(sequence->cell, sequence->T, sequence->B, sequence->I, sequence->H) > 0)
    return "saved must be given: run forward with it.";
  if (!is_lstm(sequence->cell) && (in->d_c_T != nullptr || out->d_c_0 != nullptr))
    return "d_c_T or d_c_0 was given, but only the LSTM has a c.";
  for (const tidegate_low_rank *w : {out->low_rank_ih, out->low_rank_hh})
    if (w != nullptr && (w->rank < 1 || w->rank > 65536 || !w->A || !w->B || !w->d_A || !w->d_B))
      return "A low rank must be from 1 to 65536, and have A, B, d_A and d_B.";
  return kernels()->backward(*sequence, *in, *out, threads);
}

const char *tidegate_linear_cross_entropy_run(const tidegate_linear_cross_entropy *p, float *losses, float *d_x, float *d_W,
                                              float *d_b, const tidegate_threads *threads) {
  if (kernels() == nullptr) return NO_KERNELS;
  if (p == nullptr || p->x == nullptr || p->W == nullptr || p->targets == nullptr || losses == nullptr)
    return "x, W, targets and losses must be given.";
  if (p->N < 1 || p->H < 1 || p->V < 1 || p->N >= MOST || p->H >= MOST || p->V >= MOST || p->H >= (int64_t{1} << 40) / p->V)
    return "N, H and V must each be at least 1, and not too large.";
  if (!(p->label_smoothing >= 0.0f && p->label_smoothing <= 1.0f)) return "label_smoothing must be from 0 to 1.";
  for (int64_t n = 0; n < p->N; ++n)
    if (p->targets[n] != p->ignore_index && (p->targets[n] < 0 || p->targets[n] >= p->V))
      return "Each target must be from 0 to V - 1, or ignore_index.";
  return kernels()->linear_cross_entropy(*p, losses, d_x, d_W, d_b, threads);
}

const char *tidegate_linear_run(const tidegate_linear *p, float *y, const tidegate_threads *threads) {
  if (kernels() == nullptr) return NO_KERNELS;
  if (p == nullptr || p->x == nullptr || p->W == nullptr || y == nullptr) return "x, W and y must be given.";
  if (p->N < 1 || p->I < 1 || p->O < 1 || p->N >= MOST || p->I >= MOST || p->O >= MOST)
    return "N, I and O must each be at least 1, and not too large.";
  return kernels()->linear(*p, y, threads);
}

tidegate_decoder *tidegate_decoder_new(int cell, int layers, int64_t I, int64_t H, const tidegate_layer *stack, int residual,
                                       float eps, const char **error) {
  const char *ignored = nullptr;
  if (error == nullptr) error = &ignored;
  *error = kernels() == nullptr ? NO_KERNELS : check_sizes(1, 1, I, H);
  if (*error == nullptr && (layers < 1 || layers > 4096 || stack == nullptr)) *error = "There must be from 1 to 4096 layers.";
  if (*error == nullptr && residual != 0 && I != H) *error = "A residual stack needs I = H.";
  for (int i = 0; *error == nullptr && i < layers; ++i)
    if (stack[i].weight_ih == nullptr || stack[i].weight_hh == nullptr) *error = "Each layer must have weight_ih and weight_hh.";
  if (*error != nullptr) return nullptr;
  void *decoder = kernels()->decoder_new(cell, layers, I, H, stack, residual != 0, eps, error);
  if (decoder == nullptr) return nullptr;
  auto *made = new (std::nothrow) tidegate_decoder{kernels(), decoder, is_lstm(cell)};
  if (made == nullptr) kernels()->decoder_free(decoder), *error = "There is not enough memory for the decoder.";
  return made;
}

void tidegate_decoder_free(tidegate_decoder *decoder) {
  if (decoder == nullptr) return;
  decoder->kernels->decoder_free(decoder->decoder);
  delete decoder;
}

const char *tidegate_decoder_step(const tidegate_decoder *decoder, int64_t B, const float *x, const float *h, const float *c,
                                  float *y, float *h_after, float *c_after, const tidegate_threads *threads) {
  if (decoder == nullptr || B < 1 || x == nullptr || h == nullptr || y == nullptr || h_after == nullptr)
    return "decoder, x, h, y and h_after must be given, and B be at least 1.";
  if ((c == nullptr) == decoder->has_c || (c_after == nullptr) == decoder->has_c)
    return "c and c_after must be given for the LSTM, and for it alone.";
  return decoder->kernels->decoder_step(decoder->decoder, B, x, h, c, y, h_after, c_after, threads);
}

}  // extern "C"
