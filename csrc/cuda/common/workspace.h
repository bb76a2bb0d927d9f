// Hands out arrays from the workspace that the caller owns.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops::cuda {

// Each array starts a multiple of 256 bytes behind the start. Made from a null pointer it only
// counts: `size` is then what the same calls need.
class WorkspaceArrays {
 public:
  explicit WorkspaceArrays(void* memory) : base_(static_cast<std::byte*>(memory)) {}

  template <class T>
  T* take(std::int64_t count) {
    std::byte* const start = base_ == nullptr ? nullptr : base_ + size_;
    size_ +=
        (static_cast<std::size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(start);
  }

  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kAlignment = 256;
  std::byte* base_;
  std::size_t size_ = 0;
};

}  // namespace fcos_ops::cuda
