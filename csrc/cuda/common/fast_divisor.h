// Division by a number that is known at launch, without dividing.
#pragma once

#include <cstdint>

#include "math/qualifiers.h"

namespace fcos_ops::cuda {

inline constexpr std::int64_t kMaxDividend = 0x7fffffff;

// n / d for n < 2^31 and 0 < d < 2^31, as (2 n m) >> (32 + l) with l = ceil(log2 d) and
// m = ceil(2^(31 + l) / d) < 2^32. Exact: m d - 2^(31 + l) < d <= 2^l, and n 2^l < 2^(31 + l).
class FastDivisor {
 public:
  explicit FastDivisor(std::uint32_t d) : divisor_(d) {
    while ((std::uint64_t{1} << shift_) < d) ++shift_;
    const std::uint64_t power = std::uint64_t{1} << (31 + shift_);
    multiplier_ = static_cast<std::uint32_t>((power + d - 1) / d);
  }

  FCOS_HD std::uint32_t divisor() const { return divisor_; }

  FCOS_HD std::uint32_t quotient(std::uint32_t n) const {
    const std::uint64_t product = static_cast<std::uint64_t>(2 * n) * multiplier_;
    return static_cast<std::uint32_t>(product >> 32) >> shift_;
  }

 private:
  std::uint32_t divisor_, multiplier_ = 0, shift_ = 0;
};

}  // namespace fcos_ops::cuda
