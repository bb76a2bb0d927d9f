// exp, log1p, log and atan2 on the ranges that the losses need, as short branch-free polynomials
// that a compiler vectorises. NaN in gives NaN out.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "math/qualifiers.h"

namespace fcos_ops::math {

template <class Real>
inline constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
template <class Real>
inline constexpr Real kNaN = std::numeric_limits<Real>::quiet_NaN();
template <class Real>
inline constexpr Real kLargest = std::numeric_limits<Real>::max();
template <class Real>
inline constexpr Real kSmallestNormal = std::numeric_limits<Real>::min();

template <class To, class From>
FCOS_HD To bit_cast(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  __builtin_memcpy(&result, &value, sizeof(To));
  return result;
}

// The integer that has the bits of a float or double.
template <class Real>
using Bits = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

// condition ? a : b. g++ vectorises a row of dependent ternaries by combining their conditions,
// which takes many times the instructions; through bits each is one comparison and one blend.
template <class Real>
FCOS_HD Real select(bool condition, Real a, Real b) {
#if defined(__CUDA_ARCH__)
  return condition ? a : b;
#else
  const Bits<Real> mask = -static_cast<Bits<Real>>(condition);
  return bit_cast<Real>((bit_cast<Bits<Real>>(a) & mask) | (bit_cast<Bits<Real>>(b) & ~mask));
#endif
}

// x < 0 ? a : b, where -0 may give either: a blend by the sign bit, without a comparison.
template <class Real>
FCOS_HD Real select_by_sign(Real x, Real a, Real b) {
  return bit_cast<std::make_signed_t<Bits<Real>>>(x) < 0 ? a : b;
}

// exp(x) for x <= 0; exactly 0 where the result would be subnormal.
FCOS_HD float exp_nonpositive(float x) {
  constexpr float kSmallest = -87.33654f;  // exp(kSmallest) is the smallest normal float
  constexpr float kLog2e = 1.44269504f;
  constexpr float kLn2High = 0.693145752f;    // ln 2 in two parts: the first has 16 bits, so that
  constexpr float kLn2Low = 1.42860677e-06f;  // n * kLn2High is exact
  // 1.5 * 2^23: adding it rounds to an integer. With a float's exponent bias on top, the low bits
  // of the sum are the exponent of 2^n.
  constexpr float kRounder = 12582912.0f + 127.0f;
  const float shifted = x * kLog2e + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  // Minimax for exp on [-ln2/2, ln2/2], relative error 1e-7. Here and below the terms are paired
  // (Estrin's scheme): a loop over logits waits for the longest chain, not for the arithmetic.
  const float r2 = r * r;
  const float high = (0.49999231f + 0.16667114f * r) + (0.041890156f + 0.0083125206f * r) * r2;
  const float poly = (1.0f + r) + high * r2;
  const auto power_of_two = bit_cast<float>(bit_cast<std::uint32_t>(shifted) << 23);
  return select(x < kSmallest, 0.0f, poly * power_of_two);
}
FCOS_HD double exp_nonpositive(double x) { return std::exp(x); }

// log(1 + x) for x in [0, 1].
FCOS_HD float log1p_unit(float x) {
  // Minimax for log1p(x) / x on [0, 1], relative error 2e-7.
  const float x2 = x * x;
  const float low = 0.99999982f - 0.49997404f * x;
  const float middle = 0.33275479f - 0.24495463f * x;
  const float high = (0.17745240f - 0.10768171f * x) + (0.044089623f - 0.0085392063f * x) * x2;
  return x * (low + (middle + high * x2) * x2);
}
FCOS_HD double log1p_unit(double x) { return std::log1p(x); }

// The same two for losses: close on every device, where the above are equal to the last bit.
FCOS_HD float exp_in_loss(float x) {
#if defined(__CUDA_ARCH__)
  // 2^t by the special-function unit, relative error 2^-22, times 1 + the rest that t leaves. t is
  // rounded down, from a constant rounded up, so the rest is in [0, 2e-5] wherever 2^t is not 0;
  // saturated to [0, 1], for the NaN and the infinity that it is at an infinite x.
  constexpr float kLog2eUp = 1.44269514f, kLn2 = 0.693147182f;  // off by 2.4e-7 of a result at -87
  const float t = __fmul_rd(x, kLog2eUp);
  const float rest = __saturatef(fmaf(-t, kLn2, x));
  const float power_of_two = exp2f(t);
  return fmaf(power_of_two, rest, power_of_two);
#else
  return exp_nonpositive(x);
#endif
}
FCOS_HD double exp_in_loss(double x) { return exp_nonpositive(x); }

FCOS_HD float log1p_in_loss(float x) {
#if defined(__CUDA_ARCH__)
  // Minimax for log1p(x) / x on [0, 1], relative error 2e-7, by Horner's scheme: the fewest
  // instructions, where other warps fill the wait.
  float poly = fmaf(x, -0.0085392063f, 0.044089623f);
  poly = fmaf(x, poly, -0.10768171f);
  poly = fmaf(x, poly, 0.17745240f);
  poly = fmaf(x, poly, -0.24495463f);
  poly = fmaf(x, poly, 0.33275479f);
  poly = fmaf(x, poly, -0.49997404f);
  poly = fmaf(x, poly, 0.99999982f);
  return x * poly;
#else
  return log1p_unit(x);
#endif
}
FCOS_HD double log1p_in_loss(double x) { return log1p_unit(x); }

// a * b + c in one instruction, and 1 / x within two units in the last place, also in files that
// are compiled without contraction or with IEEE division, which losses of many logits do not need.
FCOS_HD float multiply_add_in_loss(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
FCOS_HD double multiply_add_in_loss(double a, double b, double c) { return a * b + c; }

// a * b, computed once also where its negative is used too, for which nvcc would multiply again.
FCOS_HD float multiply_in_loss(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

FCOS_HD float reciprocal_in_loss(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.0f, x);
#else
  return 1.0f / x;
#endif
}
FCOS_HD double reciprocal_in_loss(double x) { return 1.0 / x; }

FCOS_HD float absolute(float x) {
#if defined(__CUDA_ARCH__)
  return fabsf(x);  // costs nothing as an operand
#else
  return bit_cast<float>(bit_cast<std::uint32_t>(x) & 0x7fffffffu);
#endif
}
FCOS_HD double absolute(double x) { return std::fabs(x); }

// log(x) for normal x > 0.
FCOS_HD float log_positive(float x) {
  constexpr std::uint32_t kSqrtHalf = 0x3f3504f3u;  // bits of sqrt(1/2)
  constexpr float kLn2High = 0.693145752f, kLn2Low = 1.42860677e-06f;
  // x = 2^n (1 + f), with 1 + f in [sqrt(1/2), sqrt(2)). Unsigned so that a NaN's bits may wrap.
  const std::uint32_t shifted = bit_cast<std::uint32_t>(x) - kSqrtHalf;
  const auto n = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float f = bit_cast<float>((shifted & 0x007fffffu) + kSqrtHalf) - 1.0f;
  // Minimax for (log1p(f) - f + f^2 / 2) / f^3, an error of 6e-9 in log1p(f).
  const float f2 = f * f, f4 = f2 * f2;
  const float low = (0.33333332f - 0.25000821f * f) + (0.20001227f - 0.16623358f * f) * f2;
  const float high = (0.14201754f - 0.13160172f * f) + (0.12761601f - 0.076345531f * f) * f2;
  const float rest = f2 * f * (low + high * f4) - 0.5f * f2;
  const float result = n * kLn2High + (f + (rest + n * kLn2Low));
  return select(x != x, x, result);
}
FCOS_HD double log_positive(double x) { return std::log(x); }

// atan2(y, x) for x >= 0, not both zero: the angle of a vector in the right half plane.
FCOS_HD float atan2_right(float y, float x) {
  constexpr float kHalfPi = 1.57079633f;
  const float height = absolute(y);
  const bool steep = height > x;
  const float t = select(steep, x, height) / select(steep, height, x);
  const float z = t * t;
  // Minimax for (atan(t) / t - 1) / t^2 on [0, 1], an error of 2e-8 in atan(t).
  const float z2 = z * z, z4 = z2 * z2;
  const float low = (-0.33333153f + 0.19993773f * z) + (-0.14211054f + 0.10666001f * z) * z2;
  const float high = (-0.075522083f + 0.043211813f * z) + (-0.016367911f + 0.0029206905f * z) * z2;
  const float flat = t + t * z * (low + high * z4);
  const float angle = select(steep, kHalfPi - flat, flat);
  return select(y < 0.0f, -angle, angle);
}
FCOS_HD double atan2_right(double y, double x) { return std::atan2(y, x); }

}  // namespace fcos_ops::math
