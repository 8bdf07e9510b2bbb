/* A program that drives every function of the core through odd shapes and optional arguments, for the address and
 * undefined-behaviour sanitizers: arrays are exactly as large as tidegate.h says, so that a step beyond one is caught.
 * It also checks what needs no reference: poisoned outputs are overwritten, the same call gives the same bits, and one
 * step through the decoder is one step of the sequence. */
#include <time.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "threads.h"
#include "tidegate.h"

namespace {

using Floats = std::unique_ptr<float[]>; /* not a vector: its capacity would hide a step beyond the end */

int checks = 0;

void expect(bool right, const char *what) {
  ++checks;
  if (right) return;
  std::fprintf(stderr, "driver: %s\n", what);
  std::exit(1);
}

void succeed(const char *wrong) { expect(wrong == nullptr, wrong == nullptr ? "" : wrong); }

uint32_t state = 1;
float random_value() {
  state = state * 1664525u + 1013904223u;
  return (static_cast<float>(state >> 8) / 16777216.0f - 0.5f) * 0.6f;
}
Floats random_floats(int64_t n) {
  Floats a(new float[static_cast<size_t>(n)]);
  for (int64_t i = 0; i < n; ++i) a[i] = random_value();
  return a;
}
Floats poisoned(int64_t n) {
  Floats a(new float[static_cast<size_t>(n)]);
  for (int64_t i = 0; i < n; ++i) a[i] = std::numeric_limits<float>::quiet_NaN();
  return a;
}
void expect_finite(const Floats &a, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; ++i) expect(std::isfinite(a[i]), what);
}

int64_t gates(int cell) { return cell == TIDEGATE_LSTM ? 4 : cell >= TIDEGATE_GRU ? 3 : 1; }

struct Outputs {
  Floats h, h_T, c_T, saved, d_x, d_h_0, d_c_0, d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh;
};

Outputs run(const tidegate_sequence &s, const float *d_h, const float *d_h_T, const float *d_c_T, int threads) {
  const int64_t G = gates(s.cell), rows = G * s.H, size = tidegate_saved_size(s.cell, s.T, s.B, s.I, s.H);
  const bool lstm = s.cell == TIDEGATE_LSTM;
  Outputs o{poisoned(s.T * s.B * s.H), poisoned(s.B * s.H), lstm ? poisoned(s.B * s.H) : nullptr, poisoned(size),
            poisoned(s.T * s.B * s.I), poisoned(s.B * s.H), lstm ? poisoned(s.B * s.H) : nullptr, poisoned(rows * s.I),
            poisoned(rows * s.H), poisoned(rows), poisoned(rows)};
  const tidegate_threads team = tidegate::make_threads(threads);
  succeed(tidegate_sequence_forward(&s, o.h.get(), o.h_T.get(), o.c_T.get(), o.saved.get(), &team));
  const Floats again = poisoned(s.T * s.B * s.H), last = poisoned(s.B * s.H), c_last = poisoned(s.B * s.H);
  succeed(tidegate_sequence_forward(&s, again.get(), last.get(), lstm ? c_last.get() : nullptr, nullptr, &team));
  expect(std::memcmp(again.get(), o.h.get(), sizeof(float) * static_cast<size_t>(s.T * s.B * s.H)) == 0,
         "saving changed the outputs");
  const tidegate_gradients_in in{o.h.get(), o.saved.get(), d_h, d_h_T, d_c_T};
  const tidegate_gradients_out out{o.d_x.get(), o.d_h_0.get(), o.d_c_0.get(), o.d_weight_ih.get(), o.d_weight_hh.get(),
                                   o.d_bias_ih.get(), o.d_bias_hh.get(), nullptr, nullptr};
  succeed(tidegate_sequence_backward(&s, &in, &out, &team));
  expect_finite(o.h, s.T * s.B * s.H, "h is not finite");
  expect_finite(o.d_x, s.T * s.B * s.I, "d_x is not finite");
  expect_finite(o.d_weight_ih, rows * s.I, "d_weight_ih is not finite");
  expect_finite(o.d_weight_hh, rows * s.H, "d_weight_hh is not finite");
  expect_finite(o.d_bias_ih, rows, "d_bias_ih is not finite");
  expect_finite(o.d_bias_hh, rows, "d_bias_hh is not finite");
  expect_finite(o.d_h_0, s.B * s.H, "d_h_0 is not finite");
  return o;
}

void drive_low_rank(const tidegate_sequence &s, const Outputs &o, const float *d_h, int threads) {
  const int64_t rows = gates(s.cell) * s.H, rank = 1 + s.H % 20;
  const Floats A_ih = random_floats(rank * s.I), B_ih = random_floats(rows * rank), A_hh = random_floats(rank * s.H);
  const Floats B_hh = random_floats(rows * rank), d_A_ih = poisoned(rank * s.I), d_B_ih = poisoned(rows * rank);
  const Floats d_A_hh = poisoned(rank * s.H), d_B_hh = poisoned(rows * rank);
  const tidegate_low_rank ih{rank, A_ih.get(), B_ih.get(), d_A_ih.get(), d_B_ih.get()};
  const tidegate_low_rank hh{rank, A_hh.get(), B_hh.get(), d_A_hh.get(), d_B_hh.get()};
  const tidegate_gradients_in in{o.h.get(), o.saved.get(), d_h, nullptr, nullptr};
  const tidegate_gradients_out out{nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &ih, &hh};
  const tidegate_threads team = tidegate::make_threads(threads);
  succeed(tidegate_sequence_backward(&s, &in, &out, &team));
  expect_finite(d_A_ih, rank * s.I, "d_A of weight_ih is not finite");
  expect_finite(d_B_ih, rows * rank, "d_B of weight_ih is not finite");
  expect_finite(d_A_hh, rank * s.H, "d_A of weight_hh is not finite");
  expect_finite(d_B_hh, rows * rank, "d_B of weight_hh is not finite");
}

void drive_sequence(int cell, int64_t T, int64_t B, int64_t I, int64_t H, bool options, int threads) {
  const int64_t rows = gates(cell) * H;
  const bool lstm = cell == TIDEGATE_LSTM;
  const Floats x = random_floats(T * B * I), h_0 = random_floats(B * H), c_0 = random_floats(B * H);
  const Floats w_ih = random_floats(rows * I), w_hh = random_floats(rows * H), b_ih = random_floats(rows), b_hh = random_floats(rows);
  const Floats d_h = random_floats(T * B * H), d_h_T = random_floats(B * H), d_c_T = random_floats(B * H);
  std::unique_ptr<uint8_t[]> fresh(new uint8_t[static_cast<size_t>(T * B)]);
  std::unique_ptr<int64_t[]> lengths(new int64_t[static_cast<size_t>(B)]);
  for (int64_t i = 0; i < T * B; ++i) fresh[i] = random_value() > 0.2f;
  for (int64_t b = 0; b < B; ++b) lengths[b] = (b * 7 + 3) % (T + 1);
  tidegate_sequence s{cell, T, B, I, H, x.get(), nullptr, nullptr, w_ih.get(), w_hh.get(), nullptr, nullptr, nullptr, nullptr};
  if (options) {
    s.h_0 = h_0.get(), s.c_0 = lstm ? c_0.get() : nullptr, s.bias_ih = b_ih.get(), s.bias_hh = b_hh.get();
    s.fresh = fresh.get(), s.lengths = lengths.get();
  }
  const float *to_h_T = options ? d_h_T.get() : nullptr, *to_c_T = options && lstm ? d_c_T.get() : nullptr;
  const Outputs first = run(s, d_h.get(), to_h_T, to_c_T, threads), second = run(s, d_h.get(), to_h_T, to_c_T, threads);
  drive_low_rank(s, first, d_h.get(), threads);
  expect(std::memcmp(first.d_weight_hh.get(), second.d_weight_hh.get(), sizeof(float) * static_cast<size_t>(rows * H)) == 0,
         "the same call gave other bits");
}

void drive_loss(int64_t N, int64_t H, int64_t V, bool options, int threads) {
  const Floats x = random_floats(N * H), W = random_floats(V * H), b = random_floats(V), weight = random_floats(N);
  std::unique_ptr<int64_t[]> targets(new int64_t[static_cast<size_t>(N)]);
  for (int64_t n = 0; n < N; ++n) targets[n] = options && n % 5 == 4 ? -100 : (n * 31) % V;
  const tidegate_linear_cross_entropy p{N, H, V, x.get(), W.get(), options ? b.get() : nullptr, targets.get(),
                                        options ? weight.get() : nullptr, -100, options ? 0.1f : 0.0f};
  const Floats losses = poisoned(N), d_x = poisoned(N * H), d_W = poisoned(V * H), d_b = poisoned(V), alone = poisoned(N);
  const tidegate_threads team = tidegate::make_threads(threads);
  succeed(tidegate_linear_cross_entropy_run(&p, losses.get(), d_x.get(), d_W.get(), d_b.get(), &team));
  succeed(tidegate_linear_cross_entropy_run(&p, alone.get(), nullptr, nullptr, nullptr, &team));
  expect_finite(d_x, N * H, "d_x is not finite"), expect_finite(d_W, V * H, "d_W is not finite");
  expect_finite(d_b, V, "d_b is not finite");
  expect(std::memcmp(losses.get(), alone.get(), sizeof(float) * static_cast<size_t>(N)) == 0, "gradients changed the losses");
}

/* A runtime that starts two threads when four are wanted, as an OpenMP limit does, gives what two give. */
void drive_smaller_team(int64_t N, int64_t H, int64_t V) {
  const Floats x = random_floats(N * H), W = random_floats(V * H);
  std::unique_ptr<int64_t[]> targets(new int64_t[static_cast<size_t>(N)]);
  for (int64_t n = 0; n < N; ++n) targets[n] = n % V;
  const tidegate_linear_cross_entropy p{N, H, V, x.get(), W.get(), nullptr, targets.get(), nullptr, -100, 0.0f};
  const tidegate_threads two = tidegate::make_threads(2);
  const auto run_two = [](void *, int, tidegate_task task, void *context) {
    const tidegate_threads team = tidegate::make_threads(2);
    team.run(team.self, 2, task, context);
  };
  const tidegate_threads four = {4, run_two, nullptr};
  Floats found[2];
  for (int i = 0; i < 2; ++i) {
    const Floats losses = poisoned(N), d_W = poisoned(V * H);
    found[i] = poisoned(N * H);
    succeed(tidegate_linear_cross_entropy_run(&p, losses.get(), found[i].get(), d_W.get(), nullptr, i == 0 ? &two : &four));
  }
  expect(std::memcmp(found[0].get(), found[1].get(), sizeof(float) * static_cast<size_t>(N * H)) == 0,
         "a team smaller than wanted gave another d_x");
}

void drive_linear(int64_t N, int64_t I, int64_t O, bool options) {
  const Floats x = random_floats(N * I), W = random_floats(O * I), b = random_floats(O);
  const tidegate_linear p{N, I, O, x.get(), W.get(), options ? b.get() : nullptr};
  Floats found[2];
  for (int i = 0; i < 2; ++i) {
    found[i] = poisoned(N * O);
    const tidegate_threads team = tidegate::make_threads(i + 1);
    succeed(tidegate_linear_run(&p, found[i].get(), &team));
    expect_finite(found[i], N * O, "y is not finite");
  }
  expect(std::memcmp(found[0].get(), found[1].get(), sizeof(float) * static_cast<size_t>(N * O)) == 0,
         "two threads gave other bits than one");
}

/* A thread whose partner does not come waits asleep: the partner may need this very CPU. */
void drive_barrier() {
  tidegate::Barrier barrier;
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    barrier.wait(2);
  });
  timespec begin, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  barrier.wait(2);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  late.join();
  const double used = static_cast<double>(end.tv_sec - begin.tv_sec) + 1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);
  expect(used < 0.1, "a thread that waits keeps its CPU busy");
}

void drive_decoder(int cell, int layers, int64_t B, int64_t I, int64_t H, bool residual, int threads) {
  const int64_t rows = gates(cell) * H, size = layers * B * H;
  const bool lstm = cell == TIDEGATE_LSTM;
  std::vector<Floats> kept;
  std::vector<tidegate_layer> stack;
  const auto keep = [&](int64_t n) { return kept.push_back(random_floats(n)), kept.back().get(); };
  for (int i = 0; i < layers; ++i) {
    const int64_t inputs = i == 0 ? I : H;
    stack.push_back({keep(rows * inputs), keep(rows * H), keep(rows), keep(rows), residual ? keep(inputs) : nullptr});
  }
  const char *wrong = nullptr;
  tidegate_decoder *decoder = tidegate_decoder_new(cell, layers, I, H, stack.data(), residual, 1e-5f, &wrong);
  succeed(wrong);
  const Floats x = random_floats(B * I), h = random_floats(size), c = random_floats(size);
  const Floats y = poisoned(B * H), h_after = poisoned(size), c_after = poisoned(size);
  const tidegate_threads team = tidegate::make_threads(threads);
  succeed(tidegate_decoder_step(decoder, B, x.get(), h.get(), lstm ? c.get() : nullptr, y.get(), h_after.get(),
                                lstm ? c_after.get() : nullptr, &team));
  expect_finite(y, B * H, "y is not finite"), expect_finite(h_after, size, "h_after is not finite");
  if (layers == 1 && !residual) { /* then it is one step of the sequence */
    tidegate_sequence s{cell, 1, B, I, H, x.get(), h.get(), lstm ? c.get() : nullptr, stack[0].weight_ih, stack[0].weight_hh,
                        stack[0].bias_ih, stack[0].bias_hh, nullptr, nullptr};
    const Floats once = poisoned(B * H), h_T = poisoned(B * H), c_T = poisoned(B * H);
    succeed(tidegate_sequence_forward(&s, once.get(), h_T.get(), lstm ? c_T.get() : nullptr, nullptr, &team));
    for (int64_t i = 0; i < B * H; ++i) expect(std::fabs(once[i] - y[i]) < 1e-5f, "the decoder differs from the sequence");
  }
  tidegate_decoder_free(decoder);
}

}  // namespace

int main() {
  expect(tidegate_isa() != nullptr, "no kernels run on this CPU");
  const int64_t shapes[][4] = {{1, 1, 1, 1}, {3, 2, 7, 3}, {33, 1, 5, 17}, {2, 15, 16, 16}, {5, 7, 63, 65}, {3, 33, 1, 33}, {9, 64, 20, 40}};
  for (int cell = TIDEGATE_RNN_TANH; cell <= TIDEGATE_GRU_RESET_BEFORE; ++cell)
    for (int threads = 1; threads <= 2; ++threads)
      for (int options = 0; options < 2; ++options) {
        for (const auto &s : shapes) drive_sequence(cell, s[0], s[1], s[2], s[3], options != 0, threads);
        drive_decoder(cell, 1, 1, 5, 17, false, threads);
        drive_decoder(cell, 3, 3, 33, 33, options != 0, threads);
        drive_decoder(cell, 1, 70, 4, 20, false, threads);
      }
  const int64_t losses[][3] = {{1, 1, 1}, {3, 7, 5}, {63, 16, 65}, {130, 33, 300}, {300, 20, 7}};
  for (const auto &s : losses)
    for (int threads = 1; threads <= 2; ++threads)
      for (int options = 0; options < 2; ++options) drive_loss(s[0], s[1], s[2], options != 0, threads);
  for (const auto &s : losses)
    for (int options = 0; options < 2; ++options) drive_linear(s[0], s[1], s[2], options != 0);
  for (int i = 0; i < 20; ++i) drive_smaller_team(70, 64, 600);
  drive_barrier();
  std::printf("driver: %s, %s: %d checks passed\n", tidegate_isa(), tidegate::threads_name(), checks);
}
