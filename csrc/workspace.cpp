#include "workspace.h"

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
constexpr size_t MOST_KEPT = size_t{64} << 20;
constexpr size_t HEAD = 64; /* before what is handed out stands the piece's size */

std::atomic<char *> kept{nullptr};

size_t &size_of(char *piece) { return *reinterpret_cast<size_t *>(piece); }

char *allocate(size_t size) {
  const size_t alignment = size >= LARGE_PAGE ? LARGE_PAGE : HEAD;
  size = (size + alignment - 1) / alignment * alignment;
#if defined(_WIN32)
  void *memory = _aligned_malloc(size, alignment);
  if (memory == nullptr) return nullptr;
#else
  void *memory = nullptr;
  if (posix_memalign(&memory, alignment, size) != 0) return nullptr;
#endif
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment == LARGE_PAGE) madvise(memory, size, MADV_HUGEPAGE);
#endif
  char *piece = static_cast<char *>(memory);
  size_of(piece) = size;
  return piece;
}

void release(char *piece) {
#if defined(_WIN32)
  _aligned_free(piece);
#else
  std::free(piece);
#endif
}

}  // namespace

/* Calls that run at once find the place empty and allocate: nobody waits, nothing is shared. */
void *tidegate_workspace_take(size_t size) {
  if (size > SIZE_MAX / 2) return nullptr;
  size += HEAD;
  char *piece = kept.exchange(nullptr, std::memory_order_acq_rel);
  if (piece != nullptr && size_of(piece) < size) release(piece), piece = nullptr;
  if (piece == nullptr) piece = allocate(size);
  return piece == nullptr ? nullptr : piece + HEAD;
}

void tidegate_workspace_give(void *memory) {
  if (memory == nullptr) return;
  char *piece = static_cast<char *>(memory) - HEAD;
  if (size_of(piece) <= MOST_KEPT) piece = kept.exchange(piece, std::memory_order_acq_rel);
  if (piece != nullptr) release(piece);
}
