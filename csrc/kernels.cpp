/* All kernels of one instruction set, in its namespace: compiled once for each, with -DTIDEGATE_ISA_NAMESPACE=… */
#include <time.h>

#include <new>

#include "activations.h"
#include "cells/gru.h"
#include "cells/gru_reset_before.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include "dispatch.h"
#include "sequence_backward.h"
#include "sequence_forward.h"
#include "decode.h"
#include "linear.h"
#include "linear_cross_entropy.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

static const char NO_MEMORY[] = "There is not enough memory for the work space.";
static const char NO_CELL[] = "There is no such cell.";

/* Call body.template operator()<Cell>() with the cell of a number, or return `otherwise`. */
template <typename Result, typename Body>
static Result with_cell(int cell, Result otherwise, Body body) {
  switch (cell) {
    case TIDEGATE_RNN_TANH: return body.template operator()<Rnn<Smooth>>();
    case TIDEGATE_RNN_RELU: return body.template operator()<Rnn<Rectified>>();
    case TIDEGATE_LSTM: return body.template operator()<Lstm<Smooth>>();
    case TIDEGATE_GRU: return body.template operator()<Gru<Smooth>>();
    case TIDEGATE_GRU_RESET_BEFORE: return body.template operator()<GruResetBefore<Smooth>>();
    case TIDEGATE_RNN_TANH + TIDEGATE_IDENTITY: return body.template operator()<Rnn<Identity>>();
    case TIDEGATE_LSTM + TIDEGATE_IDENTITY: return body.template operator()<Lstm<Identity>>();
    case TIDEGATE_GRU + TIDEGATE_IDENTITY: return body.template operator()<Gru<Identity>>();
    case TIDEGATE_GRU_RESET_BEFORE + TIDEGATE_IDENTITY: return body.template operator()<GruResetBefore<Identity>>();
    default: return otherwise;
  }
}

static int64_t saved_size_of(int cell, int64_t T, int64_t B, int64_t I, int64_t H) {
  return with_cell(cell, int64_t{-1}, [&]<typename Cell>() { return saved_size<Cell>(Layout(T, B, I, H)); });
}

static const char *forward(const tidegate_sequence &s, float *h, float *h_T, float *c_T, float *saved, const tidegate_threads *threads) {
  return with_cell(s.cell, NO_CELL, [&]<typename Cell>() -> const char * {
    Forward<Cell> run(s, h, h_T, c_T, saved);
    if (!run.space.allocate()) return NO_MEMORY;
    run_team(threads, static_cast<int>(run.l.U), [&](const Member &m) { run(m); });
    return nullptr;
  });
}

static const char *backward(const tidegate_sequence &s, const tidegate_gradients_in &in, const tidegate_gradients_out &out,
                            const tidegate_threads *threads) {
  return with_cell(s.cell, NO_CELL, [&]<typename Cell>() -> const char * {
    Backward<Cell> run(s, in, out);
    if (!run.space.allocate()) return NO_MEMORY;
    run_team(threads, static_cast<int>(run.l.U), [&](const Member &m) { run(m); });
    return nullptr;
  });
}

static const char *linear_cross_entropy(const tidegate_linear_cross_entropy &p, float *losses, float *d_x, float *d_W, float *d_b,
                                        const tidegate_threads *threads) {
  const int wanted = threads == nullptr || threads->wanted < 1 ? 1 : threads->wanted;
  LinearCrossEntropy run(p, losses, d_x, d_W, d_b, wanted);
  if (!run.space.allocate()) return NO_MEMORY;
  run_team(threads, wanted, [&](const Member &m) { run(m); });
  return nullptr;
}

static const char *linear(const tidegate_linear &p, float *y, const tidegate_threads *threads) {
  const int64_t most = (p.O + Linear::ROWS_AT_ONCE - 1) / Linear::ROWS_AT_ONCE;
  run_team(threads, most < 1024 ? static_cast<int>(most) : 1024, [&](const Member &m) { Linear{p, y}(m); });
  return nullptr;
}

static void decoder_free(void *decoder) {
  DecoderBase *d = static_cast<DecoderBase *>(decoder);
  d->~DecoderBase();
  free(d);
}

static void *decoder_new(int cell, int layers, int64_t I, int64_t H, const tidegate_layer *stack, bool residual, float eps,
                         const char **error) {
  void *memory = malloc(sizeof(DecoderBase));
  if (memory == nullptr) return *error = NO_MEMORY, nullptr;
  DecoderBase *d = new (memory) DecoderBase{I, H, blocks_of(H), layers, residual, false, eps, {}, nullptr, nullptr};
  *error = with_cell(cell, NO_CELL, [&]<typename Cell>() -> const char * {
    d->has_c = Cell::HAS_C;
    return Decoder<Cell>::make(*d, stack);
  });
  if (*error == nullptr) return d;
  decoder_free(d);
  return nullptr;
}

static const char *decoder_step(const void *decoder, int64_t B, const float *x, const float *h, const float *c, float *y,
                                float *h_after, float *c_after, const tidegate_threads *threads) {
  const DecoderBase *d = static_cast<const DecoderBase *>(decoder);
  return d->step(*d, B, x, h, c, y, h_after, c_after, threads);
}

/* 12 sums of independent multiply-adds: two units of latency 4 to 5 stay busy with 8 to 10. */
static double peak(double seconds, const tidegate_threads *threads) {
  double rates[256] = {};
  const int most = 256;
  run_team(threads, most, [&](const Member &m) {
    constexpr int SUMS = 12;
    vf sums[SUMS] = {};
    const vf a = broadcast(1.0000001f), b = broadcast(1e-9f);
    timespec start, now;
    m.wait();
    clock_gettime(CLOCK_MONOTONIC, &start);
    double passed = 0, done = 0;
    while (passed < seconds) {
      for (int i = 0; i < 20000; ++i)
        TIDEGATE_UNROLL for (int j = 0; j < SUMS; ++j) sums[j] = fma(sums[j], a, b);
      done += 20000.0 * SUMS * VECTOR * 2;
      clock_gettime(CLOCK_MONOTONIC, &now);
      passed = static_cast<double>(now.tv_sec - start.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - start.tv_nsec);
    }
    float kept[VECTOR];
    for (const vf &sum : sums) store(kept, sum), rates[m.thread] += kept[0] > 1e30f ? 1 : 0;
    rates[m.thread] += done / passed;
  });
  double total = 0;
  for (double rate : rates) total += rate;
  return total;
}

extern const Kernels KERNELS;
const Kernels KERNELS = {saved_size_of, forward, backward, linear_cross_entropy, linear, decoder_new, decoder_free, decoder_step, peak};

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
