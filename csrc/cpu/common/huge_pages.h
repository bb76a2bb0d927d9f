// Memory of large outputs in pages of 2 MB. Such memory comes fresh from the system at every call
// where the allocator hands large blocks back (glibc's does above 32 MB), and each page of 4 kB
// that is written first costs a fault: 40 MB take 17 ms to write, in huge pages 6 ms. The advice
// stays with the addresses until the allocator gives them back; where the system's setting of
// transparent huge pages is "never" it does nothing, where it is "always" it changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "common/dense.h"
#include "common/dtypes.h"

namespace fcos_ops::cpu {

inline constexpr std::size_t kLeastAdvised = std::size_t{4} << 20;

// Asks for huge pages under an array that is about to be written. From the small page on that it
// begins in: a block of its own begins with some bytes of the allocator's, often at a huge page.
inline void advise_huge_pages(void* data, std::size_t size) {
#if defined(__linux__)
  if (data == nullptr || size < kLeastAdvised) return;
  static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = address / page * page;
  static_cast<void>(madvise(reinterpret_cast<void*>(first), address + size - first, MADV_HUGEPAGE));
#else
  static_cast<void>(data);
  static_cast<void>(size);
#endif
}

// The same for the levels of an output of a floating dtype, which may be null. Only for those
// without holes: what lies between the elements of others is not ours to ask for.
inline void advise_huge_pages(const MutableLevelView* views, std::int32_t num_levels,
                              std::int64_t batch, std::int64_t channels, DType dtype) {
  if (views == nullptr) return;
  const std::size_t element_size = math::dispatch(
      math::Floating{}, dtype, [](auto type) { return sizeof(typename decltype(type)::type); });
  for (const MutableLevelView* view = views; view != views + num_levels; ++view) {
    const std::int64_t count = batch * channels * view->height * view->width;
    const std::size_t size = static_cast<std::size_t>(count) * element_size;
    if (size >= kLeastAdvised && is_dense(*view, batch, channels)) {
      advise_huge_pages(view->data, size);
    }
  }
}

}  // namespace fcos_ops::cpu
