// float16 and bfloat16 as storage: two bytes that convert to and from float32 (round to nearest,
// ties to even). Integer arithmetic only, so the loops around it vectorise without F16C.
#pragma once

#include <cstdint>
#include <type_traits>

#include "math/elementary.h"

namespace fcos_ops::math {

struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

FCOS_HD float to_real(float x) { return x; }
FCOS_HD double to_real(double x) { return x; }

FCOS_HD float to_real(BFloat16 x) {
  return bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

FCOS_HD float to_real(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(x.bits & 0x7fffu) << 13;
  // Exponent bias 15 -> 127 by a multiplication, which also normalises subnormals.
  const std::uint32_t finite = bit_cast<std::uint32_t>(bit_cast<float>(magnitude) * 0x1p112f);
  const std::uint32_t special = magnitude | 0x7f800000u;  // infinity and NaN
  return bit_cast<float>(sign | (magnitude >= 0x0f800000u ? special : finite));
}

FCOS_HD void from_real(float value, float& out) { out = value; }
FCOS_HD void from_real(double value, double& out) { out = value; }

FCOS_HD void from_real(float value, BFloat16& out) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40u;
  out.bits = static_cast<std::uint16_t>(value != value ? quiet_nan : rounded);
}

FCOS_HD void from_real(float value, Half& out) {
  const std::uint32_t bits = bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  // Below 2^-14 the half is subnormal: adding 0.5 makes the hardware round at the right bit.
  const float subnormal_sum = bit_cast<float>(magnitude) + 0.5f;
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(subnormal_sum) - 0x3f000000u;
  const std::uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  std::uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
  result = magnitude >= 0x477ff000u ? 0x7c00u : result;  // 65520 and above round to infinity
  result = magnitude > 0x7f800000u ? 0x7e00u : result;   // NaN
  out.bits = static_cast<std::uint16_t>(sign | result);
}

// The type in which values stored as T are computed.
template <class T>
using Real = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace fcos_ops::math
