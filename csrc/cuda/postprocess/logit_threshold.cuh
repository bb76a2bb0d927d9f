// Comparison of stored logits with the bound of their location: a few instructions each, 16 bytes
// of logits at a time.
#pragma once

#include <type_traits>

#include "cuda/common/vectors.cuh"
#include "math/order.h"

namespace fcos_ops::cuda::detection {

// A threshold that number x, or element i of a vector, reaches or not, in the order of
// math::comparable. (NaN may come out either way: scoring drops it.)
template <class T>
struct RealLogitThreshold {
  FCOS_HD static RealLogitThreshold of(T bound) { return {bound}; }
  FCOS_HD static RealLogitThreshold unreachable() { return {math::kInfinity<T>}; }
  FCOS_HD bool is_unreachable() const { return bound == unreachable().bound; }
  FCOS_HD bool test(T x, unsigned) const { return x >= bound; }
  __device__ bool test(const Vector<T>& vector, unsigned i) const {
    return vector.element(static_cast<int>(i)) >= bound;
  }

  T bound;
};

// The numbers of 16 bits that reach a bound lie next to each other as bit patterns: from the bound
// up to NaN, or from +0 over NaN and -0 to a negative bound. So one subtraction and one comparison
// tell, in the upper half of a word; what lies in the lower half then changes nothing. That takes a
// third of what sign and magnitude take to compare, which would be as long as the memory needs.
template <class T>
struct HalfLogitThreshold {
  FCOS_HD static HalfLogitThreshold of(float bound) {
    const std::int16_t lowest = math::comparable_bound<T>(bound);
    const auto bits = static_cast<std::uint16_t>(math::comparable_bits(lowest));
    const bool negative = lowest < 0;
    const std::uint32_t first = negative ? 0u : bits;
    const std::uint32_t length = negative ? bits : 0x7fffu - bits;
    return {first << 16, (length << 16) | 0xffffu};
  }
  FCOS_HD static HalfLogitThreshold unreachable() { return of(math::kInfinity<float>); }
  FCOS_HD bool is_unreachable() const { return first == unreachable().first; }
  FCOS_HD bool test(T x, unsigned) const { return upper(std::uint32_t{x.bits} << 16); }
  __device__ bool test(const Vector<T>& vector, unsigned i) const {
    const std::uint32_t word = vector.word[i / 2];
    return upper(i % 2 == 0 ? word << 16 : word);
  }
  FCOS_HD bool upper(std::uint32_t word) const { return word - first <= length; }

  std::uint32_t first, length;
};

template <class T>
using LogitThreshold =
    std::conditional_t<sizeof(T) == 2, HalfLogitThreshold<T>, RealLogitThreshold<T>>;

}  // namespace fcos_ops::cuda::detection
