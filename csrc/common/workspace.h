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

}  // namespace fcos_ops
