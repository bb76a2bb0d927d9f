// Hands out arrays from scratch memory that the caller owns.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fcos_ops::cpu {

// Each array starts on a cache line. Constructed from a null pointer it only counts: `used` is then
// what the same calls need.
class Scratch {
 public:
  explicit Scratch(void* memory) : base_(static_cast<std::byte*>(memory)) {
    used_ = (kAlignment - reinterpret_cast<std::uintptr_t>(memory) % kAlignment) % kAlignment;
  }

  template <class T>
  T* take(std::int64_t count) {
    std::byte* const start = base_ == nullptr ? nullptr : base_ + used_;
    const std::size_t size = static_cast<std::size_t>(count) * sizeof(T);
    used_ += (size + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(start);
  }

  // Bytes, wherever the memory starts.
  std::size_t used() const { return used_ + kAlignment; }

 private:
  static constexpr std::size_t kAlignment = 64;
  std::byte* base_;
  std::size_t used_;
};

}  // namespace fcos_ops::cpu
