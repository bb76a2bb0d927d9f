// The loops of sigmoid focal loss that the compiler vectorises; each returns the sum of its losses.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/isa.h"
#include "math/focal.h"

namespace fcos_ops::cpu {

using math::Gamma;

inline constexpr std::int64_t kBackground = -1, kIgnored = -2;

// What multiplies the loss of a positive and of a negative entry, and then the gradient alone.
template <class Real>
struct FocalFactors {
  Real positive, negative, gamma, gradient;
};

// Each loop below makes two passes over a chunk in the first-level cache. One pass would be a chain
// of dependent operations so long that few processors look far enough ahead to start the next one.
// The first pass leaves exp(-|x|) where the gradient will stand.
template <class Real>
FCOS_HD void store_exponentials(const Real* __restrict__ logits, std::int32_t count,
                                Real* __restrict__ gradient) {
#pragma omp simd
  for (std::int32_t i = 0; i < count; ++i) gradient[i] = math::exp_minus_absolute(logits[i]);
}

// Negative logits of equal weight: background rows, or what lies along x and has no positive.
template <Gamma kGamma, bool kLosses>
struct NegativeLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          const FocalFactors<Real>& factors, Real* __restrict__ losses,
                          Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    const Real factor = factors.negative, slope_factor = factor * factors.gradient;
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const auto term = math::focal_negative<kGamma>(logits[i], gradient[i], factors.gamma);
      sum += term.loss;
      if constexpr (kLosses) losses[i] = factor * term.loss;
      gradient[i] = slope_factor * term.gradient;
    }
    return factor * sum;
  }
};

// A row whose entry `positive` is the labelled class.
template <Gamma kGamma, bool kLosses>
struct RowLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          std::int32_t positive, const FocalFactors<Real>& factors,
                          Real* __restrict__ losses, Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const bool is_positive = i == positive;
      const Real x = is_positive ? -logits[i] : logits[i];
      const auto term = math::focal_negative<kGamma>(x, gradient[i], factors.gamma);
      const Real factor = is_positive ? factors.positive : factors.negative;
      const Real loss = factor * term.loss;
      sum += loss;
      if constexpr (kLosses) losses[i] = loss;
      gradient[i] = (is_positive ? -factor : factor) * factors.gradient * term.gradient;
    }
    return sum;
  }
};

// One class of many locations.
template <Gamma kGamma, bool kLosses>
struct ColumnLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          const std::int32_t* __restrict__ labels, const Real* __restrict__ weights,
                          std::int32_t channel, const FocalFactors<Real>& factors,
                          Real* __restrict__ losses, Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const bool is_positive = labels[i] == channel;
      const bool is_ignored = labels[i] == kIgnored;
      const Real x = is_positive ? -logits[i] : logits[i];
      const auto term = math::focal_negative<kGamma>(x, gradient[i], factors.gamma);
      const Real factor = (is_positive ? factors.positive : factors.negative) * weights[i];
      const Real loss = is_ignored ? Real(0) : factor * term.loss;
      const Real slope = (is_positive ? -factor : factor) * factors.gradient * term.gradient;
      sum += loss;
      if constexpr (kLosses) losses[i] = loss;
      gradient[i] = is_ignored ? Real(0) : slope;
    }
    return sum;
  }
};

template <Gamma kGamma, bool kLosses>
struct DenseLoop {
  template <class Real>
  static FCOS_HD Real run(const Real* __restrict__ logits, std::int32_t count,
                          const Real* __restrict__ targets, const Real* __restrict__ weights,
                          const FocalFactors<Real>& factors, Real* __restrict__ losses,
                          Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const auto term =
          math::focal_dense<kGamma>(logits[i], gradient[i], targets[i], factors.gamma);
      const Real factor =
          (targets[i] * factors.positive + (Real(1) - targets[i]) * factors.negative) * weights[i];
      const Real loss = factor * term.loss;
      sum += loss;
      if constexpr (kLosses) losses[i] = loss;
      gradient[i] = factor * factors.gradient * term.gradient;
    }
    return sum;
  }
};

// Runs the Loop<gamma, losses> for the gamma of `factors`, which stores losses unless they are
// null.
template <template <Gamma, bool> class Loop, class Real, class... Args>
Real run_focal(const FocalFactors<Real>& factors, Real* losses, Real* gradient,
               const Args&... args) {
  const auto run = [&](auto gamma) {
    if (losses == nullptr) {
      return run_best<Loop<gamma(), false>>(args..., factors, losses, gradient);
    }
    return run_best<Loop<gamma(), true>>(args..., factors, losses, gradient);
  };
  if (factors.gamma == 0) return run(std::integral_constant<Gamma, Gamma::kZero>{});
  if (factors.gamma == 1) return run(std::integral_constant<Gamma, Gamma::kOne>{});
  if (factors.gamma == 2) return run(std::integral_constant<Gamma, Gamma::kTwo>{});
  return run(std::integral_constant<Gamma, Gamma::kAny>{});
}

}  // namespace fcos_ops::cpu
