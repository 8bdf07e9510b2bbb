/* Who runs the core's threads: the OpenMP runtime that the process already has, else a pool of our own.
 *
 * The core links no OpenMP. PyTorch brings one of its own, under a name that no build can know beforehand, and a second
 * runtime or pool beside it makes both slow: their waiting threads hold the cores that the other one needs. So the
 * process is searched for a runtime at first use, and again whenever another library was loaded since.
 */
#ifndef TIDEGATE_THREADS_H
#define TIDEGATE_THREADS_H

#include <atomic>

#include "tidegate.h"

namespace tidegate {

/* A barrier of few threads: the last one to arrive opens the next round. The others spin for tens of microseconds, since
 * steps are microseconds apart, and then sleep: where a thread of the team has lost its CPU to another process, a CPU that
 * spins would be the very one that it needs. */
class Barrier {
 public:
  void wait(int threads) {
    if (threads > 1) wait_for_others(threads);
  }

 private:
  void wait_for_others(int threads);
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> round_{0};
};

/* What runs a task on up to `wanted` threads (less than 1 counts as 1). Valid for as long as the process lives and no
 * library is unloaded; made anew for each call, since PyTorch may have been loaded meanwhile.
 *
 * May be called from several threads at once. A caller that finds our own pool busy runs its task on its own thread,
 * with threads = 1. In a child of fork() the pool starts anew, and the OpenMP runtime of the parent is left alone: its
 * threads did not survive, and libgomp would wait for them forever. */
tidegate_threads make_threads(int wanted);

/* Never use an OpenMP runtime in this process: for a child of fork() that loads the core only now. */
void leave_openmp();

/* What make_threads would use now: "GOMP in libgomp.so.1" or "own pool"; static storage. */
const char *threads_name();

}  // namespace tidegate

#endif
