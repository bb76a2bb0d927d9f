// exp and log1p on the ranges that stable sigmoids and softplus need, as short branch-free
// polynomials that a compiler vectorises. Errors (relative, exhaustive over float32): see
// tests/test_elementary.py. NaN in gives NaN out.
#pragma once

#include <cmath>
#include <cstdint>

#include "math/qualifiers.h"

namespace fcos_ops::math {

template <class To, class From>
FCOS_HD To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  __builtin_memcpy(&result, &value, sizeof(To));
  return result;
}

// exp(x) for x <= 0; exactly 0 where the result would be subnormal.
FCOS_HD float exp_nonpositive(float x) {
  constexpr float kSmallest = -87.33654f;  // exp(kSmallest) is the smallest normal float
  constexpr float kLog2e = 1.44269504f;
  constexpr float kLn2High = 0.693145752f;    // ln 2 in two parts: the first has 16 bits, so that
  constexpr float kLn2Low = 1.42860677e-06f;  // n * kLn2High is exact
  constexpr float kRounder = 12582912.0f;     // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x < kSmallest ? kSmallest : x;  // this form lets NaN through
  const float shifted = clamped * kLog2e + kRounder;
  const float n = shifted - kRounder;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  // Minimax for exp on [-ln2/2, ln2/2], relative error 2e-9. Here and below the terms are paired
  // (Estrin's scheme): a loop over logits waits for the longest chain, not for the arithmetic.
  const float r2 = r * r;
  const float low = (1.0f + r) + (0.49999991f + 0.16666420f * r) * r2;
  const float high = (0.041668225f + 0.0083748158f * r) + 0.0013836846f * r2;
  const float poly = low + high * (r2 * r2);
  // The low bits of `shifted` hold n; unsigned so that a NaN's bits may wrap.
  const auto power_of_two = bit_cast<float>((bit_cast<std::uint32_t>(shifted) << 23) + 0x3f800000u);
  const float result = poly * power_of_two;
  return x < kSmallest ? 0.0f : result;
}
FCOS_HD double exp_nonpositive(double x) { return std::exp(x); }

// log(1 + x) for x in [0, 1].
FCOS_HD float log1p_unit(float x) {
  // Minimax for log1p(x) / x on [0, 1], relative error 3e-8.
  const float x2 = x * x, x4 = x2 * x2;
  const float low = (0.99999994f - 0.49999493f * x) + (0.33319098f - 0.24842982f * x) * x2;
  const float high = (0.19106007f - 0.13663244f * x) + (0.078225933f - 0.029505227f * x) * x2;
  return x * (low + (high + 0.0052326913f * x4) * x4);
}
FCOS_HD double log1p_unit(double x) { return std::log1p(x); }

FCOS_HD float absolute(float x) {
  return bit_cast<float>(bit_cast<std::uint32_t>(x) & 0x7fffffffu);
}
FCOS_HD double absolute(double x) { return std::fabs(x); }

}  // namespace fcos_ops::math
