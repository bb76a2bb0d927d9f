// Arithmetic of integers: quotient and remainder, width in bits.
#pragma once

#include <cstdint>

#include "math/qualifiers.h"

namespace fcos_ops::math {

struct Division {
  std::int64_t quotient, remainder;
};

// Division of numbers >= 0; several times faster where they have 32 bits, as they nearly always do.
FCOS_HD Division divide(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) != 0) return {a / b, a % b};
  const auto a32 = static_cast<std::uint32_t>(a), b32 = static_cast<std::uint32_t>(b);
  return {a32 / b32, a32 % b32};
}

// The number of bits of `value` without leading zeros: std::bit_width of C++20, also for 128 bits.
FCOS_HD unsigned bit_width(std::uint64_t value) {
  unsigned width = 0;
  for (unsigned step = 32; step > 0; step /= 2) {
    if (value >> step == 0) continue;
    value >>= step;
    width += step;
  }
  return width + static_cast<unsigned>(value);
}
FCOS_HD unsigned bit_width(unsigned __int128 value) {
  const auto high = static_cast<std::uint64_t>(value >> 64);
  return high != 0 ? 64 + bit_width(high) : bit_width(static_cast<std::uint64_t>(value));
}

}  // namespace fcos_ops::math
