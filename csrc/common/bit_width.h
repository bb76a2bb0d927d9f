// std::bit_width of C++20, also for 128 bits.
#pragma once

#include <cstdint>

#include "math/qualifiers.h"

namespace fcos_ops::math {

// The number of bits of `value` without leading zeros.
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
