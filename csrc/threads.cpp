/* Threads for the core: see threads.h. Two parts: the search for an OpenMP runtime, and a pool of our own. */
#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif
#if defined(__linux__)
#include <link.h>
#include <sched.h>
#elif defined(__APPLE__)
#include <mach-o/dyld.h>
#endif

namespace tidegate {
namespace {

/* ---- A pool of our own ------------------------------------------------------------------------------------------ */

/* A sleeping thread takes tens of microseconds to wake, so it watches for what it waits for a while before it sleeps. */
constexpr auto WATCH = std::chrono::microseconds(30);
constexpr int MOST_THREADS = 1024;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/* Wait until `value` is no longer `old`: watching first where every thread has a core, then asleep. */
void await_change(std::atomic<unsigned> &value, unsigned old, bool watch) {
  if (watch) {
    const auto end = std::chrono::steady_clock::now() + WATCH;
    do {
      for (int i = 0; i < 64; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

/* The CPUs that this process may run on. */
int usable_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

bool every_thread_has_a_cpu(int threads) {
  static const int cpus = usable_cpus();
  return threads <= cpus;
}

class Pool {
 public:
  void run(int wanted, tidegate_task task, void *context) {
    /* not a mutex: a task that calls the core again finds its own pool busy, which a mutex would not allow to ask */
    if (wanted < 2 || busy_.test_and_set(std::memory_order_acquire)) return task(context, 0, 1);
    const int threads = 1 + grow(std::min(wanted, MOST_THREADS) - 1);
    task_ = task;
    context_ = context;
    threads_ = threads;
    left_.store(static_cast<unsigned>(threads - 1), std::memory_order_relaxed);
    for (int i = 0; i < threads - 1; ++i) {
      workers_[i]->turn.fetch_add(1, std::memory_order_release);
      workers_[i]->turn.notify_one();
    }
    task(context, 0, threads);
    for (unsigned left = left_.load(std::memory_order_acquire); left; left = left_.load(std::memory_order_acquire))
      await_change(left_, left, every_thread_has_a_cpu(threads));
    busy_.clear(std::memory_order_release);
  }

 private:
  struct alignas(64) Worker {
    std::atomic<unsigned> turn{0}; /* one more for each task */
  };

  /* Have at least `count` workers if the system allows it; returns how many of them may be used. */
  int grow(int count) {
    while (static_cast<int>(workers_.size()) < count) {
      try {
        workers_.push_back(std::make_unique<Worker>());
      } catch (const std::bad_alloc &) {
        break;
      }
      Worker *worker = workers_.back().get();
      const int number = static_cast<int>(workers_.size());
      try {
        std::thread([this, worker, number] { work(*worker, number); }).detach();
      } catch (const std::system_error &) { /* no more threads are to be had: fewer will do */
        workers_.pop_back();
        break;
      }
    }
    return std::min(count, static_cast<int>(workers_.size()));
  }

  [[noreturn]] void work(Worker &worker, int number) {
    for (unsigned seen = 0;;) {
      await_change(worker.turn, seen, every_thread_has_a_cpu(threads_));
      ++seen;
      task_(context_, number, threads_);
      if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_one();
    }
  }

  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::vector<std::unique_ptr<Worker>> workers_;
  tidegate_task task_ = nullptr;
  void *context_ = nullptr;
  std::atomic<int> threads_{0};
  alignas(64) std::atomic<unsigned> left_{0}; /* workers that have not ended the task */
};

/* Never freed: its workers may be asleep in it when the process ends, and in a child of fork() its memory is of no use. */
std::atomic<Pool *> pool{nullptr};
std::atomic<bool> forked{false};

void after_fork_in_child() {
  pool.store(nullptr, std::memory_order_relaxed);
  forked.store(true, std::memory_order_relaxed);
}

/* From the moment of loading on: a process may fork before it has computed anything. */
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, after_fork_in_child);
#endif

void run_pool(void *, int wanted, tidegate_task task, void *context) {
  Pool *mine = pool.load(std::memory_order_acquire);
  if (!mine) {
    Pool *made = new (std::nothrow) Pool;
    if (!made) return task(context, 0, 1);
    if (pool.compare_exchange_strong(mine, made)) {
      mine = made;
    } else {
      delete made; /* another thread was first, and this one has no workers yet */
    }
  }
  mine->run(wanted, task, context);
}

/* ---- The OpenMP runtime of the process -------------------------------------------------------------------------- */

struct OpenMP {
  void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
  int (*team)();
  int (*thread)();
  char name[128]; /* "GOMP in libgomp.so.1" */
};

struct Call {
  const OpenMP *runtime;
  tidegate_task task;
  void *context;
};

void run_openmp(void *self, int wanted, tidegate_task task, void *context) {
  const auto *runtime = static_cast<const OpenMP *>(self);
  Call call{runtime, task, context};
  runtime->parallel(
      [](void *given) {
        const auto *c = static_cast<const Call *>(given);
        /* the team may be smaller than wanted: in a region of another, or under a limit of the environment */
        c->task(c->context, c->runtime->thread(), c->runtime->team());
      },
      &call, static_cast<unsigned>(wanted), 0);
}

#if defined(__linux__) || defined(__APPLE__)

const char *base_name(const char *path) {
  const char *slash = std::strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool is_openmp(const char *path) {
  const char *name = base_name(path);
  return std::strstr(name, "libgomp") || std::strstr(name, "libomp") || std::strstr(name, "libiomp");
}

/* The runtime behind a handle of dlopen, or null where it lacks what we call. */
const OpenMP *bound(void *handle) {
  auto parallel = dlsym(handle, "GOMP_parallel");
  auto team = dlsym(handle, "omp_get_num_threads");
  auto thread = dlsym(handle, "omp_get_thread_num");
  if (!parallel || !team || !thread) return nullptr;
  auto *found = new (std::nothrow) OpenMP; /* kept for good: a call under way on another thread may hold it */
  if (!found) return nullptr;
  std::memcpy(&found->parallel, &parallel, sizeof parallel);
  std::memcpy(&found->team, &team, sizeof team);
  std::memcpy(&found->thread, &thread, sizeof thread);
  Dl_info info;
  const char *library = dladdr(parallel, &info) && info.dli_fname ? base_name(info.dli_fname) : "this process";
  std::strcpy(found->name, "GOMP in ");
  std::strncat(found->name, library, sizeof found->name - 16);
  return found;
}

struct Libraries {
  std::vector<std::string> openmp;
  static unsigned long long loaded(); /* a number that changes when a library is loaded */
  static Libraries all();
};

#if defined(__linux__)
unsigned long long Libraries::loaded() {
  unsigned long long count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *out) {
        *static_cast<unsigned long long *>(out) = info->dlpi_adds;
        return 1; /* the first library tells it for all */
      },
      &count);
  return count;
}

Libraries Libraries::all() {
  Libraries found;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *out) {
        if (info->dlpi_name && is_openmp(info->dlpi_name))
          static_cast<Libraries *>(out)->openmp.emplace_back(info->dlpi_name);
        return 0;
      },
      &found);
  return found;
}
#else
unsigned long long Libraries::loaded() { return _dyld_image_count(); }

Libraries Libraries::all() {
  Libraries found;
  for (uint32_t i = 0; i < _dyld_image_count(); ++i)
    if (const char *path = _dyld_get_image_name(i); path && is_openmp(path)) found.openmp.emplace_back(path);
  return found;
}
#endif

/* The runtime of PyTorch where there are several, which it exports to the whole process; else the one that is there. */
const OpenMP *search() {
  if (const OpenMP *found = bound(RTLD_DEFAULT)) return found;
  auto libraries = Libraries::all().openmp;
  std::stable_partition(libraries.begin(), libraries.end(),
                        [](const std::string &path) { return path.find("torch") != std::string::npos; });
  for (const std::string &path : libraries)
    if (void *handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD))
      if (const OpenMP *found = bound(handle)) return found;
  return nullptr;
}

const OpenMP *openmp() {
  static std::atomic<unsigned long long> searched{0};
  static std::atomic<const OpenMP *> known{nullptr};
  static std::mutex searching;
  const auto now = Libraries::loaded();
  if (searched.load(std::memory_order_acquire) != now) {
    std::lock_guard<std::mutex> lock(searching);
    if (searched.load(std::memory_order_acquire) != now) {
      const OpenMP *before = known.load(std::memory_order_relaxed), *found = search();
      if (found && before && found->parallel == before->parallel) {
        delete found;
      } else {
        known.store(found, std::memory_order_release);
      }
      searched.store(now, std::memory_order_release);
    }
  }
  return known.load(std::memory_order_acquire);
}

#else
const OpenMP *openmp() { return nullptr; }
#endif

/* The runtime to use, or null for our own pool. */
const OpenMP *usable() {
  return forked.load(std::memory_order_relaxed) ? nullptr : openmp();
}

}  // namespace

void Barrier::wait_for_others(int threads) {
  const unsigned round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < threads)
    return await_change(round_, round, every_thread_has_a_cpu(threads));
  arrived_.store(0, std::memory_order_relaxed);
  round_.store(round + 1, std::memory_order_release);
  round_.notify_all();
}

void leave_openmp() { forked.store(true, std::memory_order_relaxed); }

tidegate_threads make_threads(int wanted) {
  if (wanted < 2) return {1, nullptr, nullptr};
  if (const OpenMP *runtime = usable()) return {wanted, run_openmp, const_cast<OpenMP *>(runtime)};
  return {wanted, run_pool, nullptr};
}

const char *threads_name() {
  const OpenMP *runtime = usable();
  return runtime ? runtime->name : "own pool";
}

}  // namespace tidegate
