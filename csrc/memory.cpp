#include "memory.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_WIN32)
#include <malloc.h>
#endif

namespace {

constexpr size_t LARGE_PAGE = size_t{2} << 20;
constexpr size_t HEAD = 64; /* before what is handed out stands the piece's size */
#if defined(TIDEGATE_KEEP_NOTHING) /* for a sanitizer: every piece is new, and hardly larger than asked for */
constexpr size_t PAGE = 64, MOST_KEPT = 0;
#else
constexpr size_t PAGE = 4096, MOST_KEPT = size_t{512} << 20;
#endif
constexpr unsigned SLOTS = 64;

/* A ring: what is handed back goes to the next slot and frees what waited there, so the place tells the age. Whoever
 * exchanges a piece out of its slot owns it, which needs no lock and leaves nothing locked in the child of a fork. */
std::atomic<char *> kept[SLOTS];
std::atomic<unsigned> next{0};
std::atomic<size_t> total{0};

size_t &size_of(char *piece) { return *reinterpret_cast<size_t *>(piece); }

char *allocate(size_t size) {
  const size_t alignment = size >= LARGE_PAGE ? LARGE_PAGE : PAGE;
  size = (size + PAGE - 1) / PAGE * PAGE;
#if defined(_WIN32)
  void *memory = _aligned_malloc(size, alignment);
  if (memory == nullptr) return nullptr;
#else
  void *memory = nullptr;
  if (posix_memalign(&memory, alignment, size) != 0) return nullptr;
#endif
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == LARGE_PAGE) madvise(memory, size, MADV_HUGEPAGE); /* a wish: contents do not change */
#endif
  char *piece = static_cast<char *>(memory);
  size_of(piece) = size;
  return piece;
}

void release(char *piece) {
  if (piece == nullptr) return;
#if defined(_WIN32)
  _aligned_free(piece);
#else
  std::free(piece);
#endif
}

char *take_from(std::atomic<char *> &slot) {
  if (slot.load(std::memory_order_relaxed) == nullptr) return nullptr;
  char *piece = slot.exchange(nullptr, std::memory_order_acq_rel);
  if (piece != nullptr) total.fetch_sub(size_of(piece), std::memory_order_relaxed);
  return piece;
}

void put_into(std::atomic<char *> &slot, char *piece) {
  total.fetch_add(size_of(piece), std::memory_order_relaxed);
  char *before = slot.exchange(piece, std::memory_order_acq_rel);
  if (before != nullptr) total.fetch_sub(size_of(before), std::memory_order_relaxed);
  release(before);
}

}  // namespace

void *tidegate_memory_take(size_t size) {
  if (size > SIZE_MAX / 4) return nullptr;
  size += HEAD;
  char *best = nullptr;
  unsigned best_slot = 0;
  for (unsigned i = 0; i < SLOTS; ++i) {
    char *piece = take_from(kept[i]);
    if (piece == nullptr) continue;
    const bool fits = size_of(piece) >= size && size_of(piece) <= 2 * size + PAGE;
    if (!fits || (best != nullptr && size_of(best) <= size_of(piece))) {
      put_into(kept[i], piece);
      continue;
    }
    if (best != nullptr) put_into(kept[best_slot], best);
    best = piece, best_slot = i;
  }
  if (best == nullptr) best = allocate(size);
  return best == nullptr ? nullptr : best + HEAD;
}

void tidegate_memory_give(void *memory) {
  if (memory == nullptr) return;
  char *piece = static_cast<char *>(memory) - HEAD;
  if (size_of(piece) > MOST_KEPT) return release(piece);
  const unsigned at = next.fetch_add(1, std::memory_order_relaxed);
  for (unsigned i = 0; i < SLOTS && total.load(std::memory_order_relaxed) + size_of(piece) > MOST_KEPT; ++i)
    release(take_from(kept[(at + i) % SLOTS])); /* the oldest first */
  put_into(kept[at % SLOTS], piece);
}
