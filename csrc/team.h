/* Threads that wait for each other inside one task, and the work space that they share. */
#ifndef TIDEGATE_TEAM_H
#define TIDEGATE_TEAM_H

#include <stdint.h>
#include <stdlib.h>

#include "memory.h"
#include "simd.h"
#include "threads.h"
#include "tidegate.h"

namespace tidegate::TIDEGATE_ISA_NAMESPACE {

/* One of the team, in one task. */
struct Member {
  int thread, threads;
  Barrier *barrier;
  void wait() const { barrier->wait(threads); }
};

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/* The part of `total` that falls to one of `parts`, in multiples of `grain`. */
TIDEGATE_INLINE Range share(int64_t total, int part, int parts, int64_t grain = 1) {
  const int64_t grains = (total + grain - 1) / grain;
  const int64_t begin = grains * part / parts * grain, end = grains * (part + 1) / parts * grain;
  return {begin < total ? begin : total, end < total ? end : total};
}

/* Work space of one call, in arrays that are asked for first and allocated in one piece. Not zeroed. */
struct Workspace {
  char *memory = nullptr;
  size_t size = 0;

  /* Plan an array of so many floats; returns its offset. */
  size_t plan(int64_t floats) {
    const size_t at = size;
    size += (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64 + 64; /* 64 more: strides that alias no cache set */
    return at;
  }
  bool allocate() {
    memory = static_cast<char *>(tidegate_memory_take(size));
    return memory != nullptr;
  }
  float *at(size_t offset) const { return reinterpret_cast<float *>(memory + offset); }
  ~Workspace() { tidegate_memory_give(memory); }
};

template <typename Body>
static void run_body(void *context, int thread, int threads) {
  struct Context {
    Body *body;
    Barrier barrier;
  };
  Context *c = static_cast<Context *>(context);
  (*c->body)(Member{thread, threads, &c->barrier});
}

/* Run body(member) on a team. */
template <typename Body>
static void run_team(const tidegate_threads *threads, int most, Body body) {
  struct Context {
    Body *body;
    Barrier barrier;
  } context{&body, {}};
  int wanted = threads == nullptr ? 1 : threads->wanted;
  if (wanted > most) wanted = most;
  if (wanted <= 1 || threads->run == nullptr) {
    run_body<Body>(&context, 0, 1);
    return;
  }
  threads->run(threads->self, wanted, run_body<Body>, &context);
}

}  // namespace tidegate::TIDEGATE_ISA_NAMESPACE
#endif
