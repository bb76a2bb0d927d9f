// Quotient and remainder.
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

}  // namespace fcos_ops::math
