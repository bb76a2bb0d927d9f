// The loops of sigmoid focal loss on a CPU, as the compiler vectorises them: once for all ops and
// dtypes, as they take long to compile.
#include "cpu/focal_loops.h"

#include <type_traits>

#include "cpu/isa.h"
#include "math/focal.h"
#include "math/labels.h"

namespace fcos_ops::cpu {
namespace {

using math::Gamma;

// Each loop below makes two passes over a chunk in the first-level cache. One pass would be a chain
// of dependent operations so long that few processors look far enough ahead to start the next one.
// The first pass leaves exp(-|x|) where the gradient will stand.
template <class Real>
FCOS_HD void store_exponentials(const Real* __restrict__ logits, std::int32_t count,
                                Real* __restrict__ gradient) {
#pragma omp simd
  for (std::int32_t i = 0; i < count; ++i) gradient[i] = math::exp_minus_absolute(logits[i]);
}

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
      const bool is_ignored = labels[i] == math::kIgnored;
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

}  // namespace

template <class Real>
Real focal_negatives(const FocalFactors<Real>& factors, const Real* logits, std::int32_t count,
                     Real* losses, Real* gradient) {
  return run_focal<NegativeLoop>(factors, losses, gradient, logits, count);
}

template <class Real>
Real focal_row(const FocalFactors<Real>& factors, const Real* logits, std::int32_t count,
               std::int32_t positive, Real* losses, Real* gradient) {
  return run_focal<RowLoop>(factors, losses, gradient, logits, count, positive);
}

template <class Real>
Real focal_column(const FocalFactors<Real>& factors, const Real* logits, std::int32_t count,
                  const std::int32_t* labels, const Real* weights, std::int32_t channel,
                  Real* losses, Real* gradient) {
  return run_focal<ColumnLoop>(factors, losses, gradient, logits, count, labels, weights, channel);
}

template <class Real>
Real focal_dense(const FocalFactors<Real>& factors, const Real* logits, std::int32_t count,
                 const Real* targets, const Real* weights, Real* losses, Real* gradient) {
  return run_focal<DenseLoop>(factors, losses, gradient, logits, count, targets, weights);
}

template float focal_negatives(const FocalFactors<float>&, const float*, std::int32_t, float*,
                               float*);
template float focal_row(const FocalFactors<float>&, const float*, std::int32_t, std::int32_t,
                         float*, float*);
template float focal_column(const FocalFactors<float>&, const float*, std::int32_t,
                            const std::int32_t*, const float*, std::int32_t, float*, float*);
template float focal_dense(const FocalFactors<float>&, const float*, std::int32_t, const float*,
                           const float*, float*, float*);
template double focal_negatives(const FocalFactors<double>&, const double*, std::int32_t, double*,
                                double*);
template double focal_row(const FocalFactors<double>&, const double*, std::int32_t, std::int32_t,
                          double*, double*);
template double focal_column(const FocalFactors<double>&, const double*, std::int32_t,
                             const std::int32_t*, const double*, std::int32_t, double*, double*);
template double focal_dense(const FocalFactors<double>&, const double*, std::int32_t, const double*,
                            const double*, double*, double*);

}  // namespace fcos_ops::cpu
