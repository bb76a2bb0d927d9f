// Stored numbers as numbers that compare alike, without converting half types to float32.
#pragma once

#include "math/half.h"

namespace fcos_ops::math {

FCOS_HD float comparable(float x) { return x; }
FCOS_HD double comparable(double x) { return x; }

// Sign and magnitude to two's complement: 16-bit integers that rise with the number. Of +-0 the
// negative one comes first; NaN lies beyond the infinity of its sign.
FCOS_HD std::int16_t comparable_bits(std::uint16_t bits) {
  const auto value = static_cast<std::int16_t>(bits);
  return static_cast<std::int16_t>(value ^ ((value >> 15) & 0x7fff));
}
FCOS_HD std::int16_t comparable(Half x) { return comparable_bits(x.bits); }
FCOS_HD std::int16_t comparable(BFloat16 x) { return comparable_bits(x.bits); }

template <class T>
using Comparable = decltype(comparable(T()));

// The comparable that all numbers x >= bound of type T reach. (Rounded to nearest, a bound does not
// pass any number of type T that it was not above before.)
template <class T>
FCOS_HD Comparable<T> comparable_bound(Real<T> bound) {
  T rounded;
  from_real(bound == 0 ? -Real<T>(0) : bound, rounded);
  return comparable(rounded);
}

}  // namespace fcos_ops::math
