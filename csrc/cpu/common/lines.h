// Lines of strided elements of any floating type, as arrays of the type that the maths uses.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/common/isa.h"
#include "math/half.h"

namespace fcos_ops::cpu {

struct LoadLoop {
  template <class T, class Real>
  static FCOS_HD int run(const T* __restrict__ from, std::int64_t stride, std::int32_t count,
                         Real* __restrict__ to) {
    if (stride == 1) {
      for (std::int32_t i = 0; i < count; ++i) to[i] = math::to_real(from[i]);
    } else {
      for (std::int32_t i = 0; i < count; ++i) to[i] = math::to_real(from[i * stride]);
    }
    return 0;
  }
};

struct StoreLoop {
  template <class Real, class T>
  static FCOS_HD int run(const Real* __restrict__ from, std::int64_t stride, std::int32_t count,
                         T* __restrict__ to) {
    if (stride == 1) {
      for (std::int32_t i = 0; i < count; ++i) math::from_real(from[i], to[i]);
    } else {
      for (std::int32_t i = 0; i < count; ++i) math::from_real(from[i], to[i * stride]);
    }
    return 0;
  }
};

// A line of elements in memory; data is null for an output that nobody asked for.
template <class T>
struct Line {
  T* data;
  std::int64_t stride;
  Line from(std::int64_t index) const { return {data ? data + index * stride : nullptr, stride}; }
};

// Asks for a line of neighbours in memory that will soon be read, or written: for the lines of a
// map along x, which lie so far apart that each is news to the processor's own prefetching. Always
// inlined, as must be what only calls it: GCC takes a function that prefetches for one without
// effects.
template <class T>
FCOS_HD void prefetch(Line<T> line, std::int32_t count) {
  constexpr int kCacheLine = 64 / sizeof(T);
  if (line.data == nullptr || line.stride != 1) return;
  for (std::int32_t i = 0; i < count; i += kCacheLine) {
    __builtin_prefetch(line.data + i, std::is_const_v<T> ? 0 : 1);
  }
}

template <class T>
const math::Real<T>* load(Line<const T> line, std::int32_t count, math::Real<T>* buffer) {
  if constexpr (std::is_same_v<T, math::Real<T>>) {
    if (line.stride == 1) return line.data;
  }
  run_best<LoadLoop>(line.data, line.stride, count, buffer);
  return buffer;
}

// The array into which a loop may write the values of `line`: in place if possible, else the
// buffer.
template <class Real, class T>
Real* writable(Line<T> line, Real* buffer) {
  if constexpr (std::is_same_v<T, Real>) {
    if (line.data && line.stride == 1) return line.data;
  }
  return buffer;
}

template <class Real, class T>
void store(const Real* values, std::int32_t count, Line<T> line) {
  if (line.data == nullptr) return;
  if constexpr (std::is_same_v<T, Real>) {
    if (values == line.data) return;
  }
  run_best<StoreLoop>(values, line.stride, count, line.data);
}

}  // namespace fcos_ops::cpu
