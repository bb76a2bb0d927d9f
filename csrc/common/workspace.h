// Hands out arrays from the workspace that the caller owns.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// Each array starts a multiple of kAlignment behind `memory`. Made from a null pointer it only
// counts: `size` is then what the same calls need.
template <std::size_t kAlignment>
class WorkspaceArena {
 public:
  explicit WorkspaceArena(void* memory) : base_(static_cast<std::byte*>(memory)) {}

  template <class T>
  T* take(std::int64_t count) {
    std::byte* const start = base_ == nullptr ? nullptr : base_ + size_;
    const std::size_t size = static_cast<std::size_t>(count) * sizeof(T);
    size_ += (size + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(start);
  }

  std::size_t size() const { return size_; }

 private:
  std::byte* base_;
  std::size_t size_ = 0;
};

// For memory of a GPU, whose allocations start at multiples of 256.
using DeviceArena = WorkspaceArena<256>;

// For memory of the host: arrays start on cache lines, wherever the memory does.
class CacheLineArena : public WorkspaceArena<64> {
 public:
  explicit CacheLineArena(void* memory) : WorkspaceArena(next_line(memory)) {}

  // Bytes that suffice wherever the memory starts.
  std::size_t used() const { return size() + kLine; }

 private:
  static constexpr std::size_t kLine = 64;

  static void* next_line(void* memory) {
    const std::size_t beyond = reinterpret_cast<std::uintptr_t>(memory) % kLine;
    return static_cast<std::byte*>(memory) + (kLine - beyond) % kLine;
  }
};

}  // namespace fcos_ops
