// The loops of sigmoid focal loss that the compiler vectorises; each returns the sum of its losses.
#pragma once

#include <cstdint>
#include <type_traits>

#include "math/focal.h"

namespace fcos_ops::cpu {

using math::Gamma;

inline constexpr std::int64_t kBackground = -1, kIgnored = -2;

// What multiplies the loss of a positive and of a negative entry, and then the gradient alone.
template <class Real>
struct FocalFactors {
  Real positive, negative, gamma, gradient;
};

// One row, or several background rows in a row: entry `positive` is the labelled class, -1 for
// none.
template <Gamma kGamma, bool kHasPositive>
struct RowLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          std::int32_t positive, const FocalFactors<Real>& factors,
                          Real* __restrict__ losses, Real* __restrict__ gradient) {
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const bool is_positive = kHasPositive && i == positive;
      const Real x = is_positive ? -logits[i] : logits[i];
      const auto term = math::focal_negative<kGamma>(x, factors.gamma);
      const Real factor = is_positive ? factors.positive : factors.negative;
      const Real loss = factor * term.loss;
      sum += loss;
      losses[i] = loss;
      gradient[i] = (is_positive ? -factor : factor) * factors.gradient * term.gradient;
    }
    return sum;
  }
};

// One class of many locations.
template <Gamma kGamma>
struct ColumnLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          const std::int32_t* __restrict__ labels, const Real* __restrict__ weights,
                          std::int32_t channel, const FocalFactors<Real>& factors,
                          Real* __restrict__ losses, Real* __restrict__ gradient) {
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const bool is_positive = labels[i] == channel;
      const bool is_ignored = labels[i] == kIgnored;
      const Real x = is_positive ? -logits[i] : logits[i];
      const auto term = math::focal_negative<kGamma>(x, factors.gamma);
      const Real factor = (is_positive ? factors.positive : factors.negative) * weights[i];
      const Real loss = is_ignored ? Real(0) : factor * term.loss;
      const Real slope = (is_positive ? -factor : factor) * factors.gradient * term.gradient;
      sum += loss;
      losses[i] = loss;
      gradient[i] = is_ignored ? Real(0) : slope;
    }
    return sum;
  }
};

template <Gamma kGamma>
struct DenseLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          const Real* __restrict__ targets, const Real* __restrict__ weights,
                          const FocalFactors<Real>& factors, Real* __restrict__ losses,
                          Real* __restrict__ gradient) {
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const auto term = math::focal_dense<kGamma>(logits[i], targets[i], factors.gamma);
      const Real factor =
          (targets[i] * factors.positive + (Real(1) - targets[i]) * factors.negative) * weights[i];
      const Real loss = factor * term.loss;
      sum += loss;
      losses[i] = loss;
      gradient[i] = factor * factors.gradient * term.gradient;
    }
    return sum;
  }
};

// Calls body(std::integral_constant<Gamma, ...>) for the loop that `gamma` has.
template <class Body>
auto dispatch_gamma(double gamma, const Body& body) {
  if (gamma == 0.0) return body(std::integral_constant<Gamma, Gamma::kZero>{});
  if (gamma == 1.0) return body(std::integral_constant<Gamma, Gamma::kOne>{});
  if (gamma == 2.0) return body(std::integral_constant<Gamma, Gamma::kTwo>{});
  return body(std::integral_constant<Gamma, Gamma::kAny>{});
}

}  // namespace fcos_ops::cpu
