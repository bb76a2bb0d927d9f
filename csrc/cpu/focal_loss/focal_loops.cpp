// The loops of sigmoid focal loss on a CPU, as the compiler vectorises them: once for all ops and
// dtypes, as they take long to compile.
#include "cpu/focal_loss/focal_loops.h"

#include <cmath>
#include <type_traits>

#include "cpu/common/isa.h"
#include "cpu/common/sums.h"
#include "math/focal.h"
#include "math/labels.h"

namespace fcos_ops::cpu::focal {
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

// The results of a loop: the sum of the losses; that, and an array of them; or the same of logits
// that may be infinite, where the array may be null.
enum class Mode { kSum, kLosses, kAnywhere };

template <Mode kMode, Gamma kGamma, class Real>
FCOS_HD math::LossAndGradient<Real> negative_term(Real x, Real e, Real gamma) {
  if constexpr (kMode == Mode::kAnywhere) return math::focal_negative_anywhere<kGamma>(x, e, gamma);
  return math::focal_negative<kGamma>(x, e, gamma);
}

template <Mode kMode, class Real>
FCOS_HD Real weighted(Real factor, Real loss) {
  if constexpr (kMode == Mode::kAnywhere) return math::weighted_loss(factor, loss);
  return factor * loss;
}

template <Mode kMode, class Real>
FCOS_HD void keep(Real loss, Real* __restrict__ losses, std::int32_t i) {
  if constexpr (kMode == Mode::kLosses) losses[i] = loss;
  if constexpr (kMode == Mode::kAnywhere) {
    if (losses != nullptr) losses[i] = loss;
  }
}

template <Gamma kGamma, Mode kMode>
struct NegativeLoop {
  template <class Real>
  static FCOS_HD double run(const Real* __restrict__ logits, std::int32_t count,
                            const FocalFactors<Real>& factors, std::int32_t block,
                            Real* __restrict__ losses, Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    const Real factor = factors.negative, grad_factor = factor * factors.gradient;
    double total = 0;
    for (std::int32_t first = 0; first < count; first += block) {
      const std::int32_t end = count - first < block ? count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        const auto loss_and_grad =
            negative_term<kMode, kGamma>(logits[i], gradient[i], factors.gamma);
        sum += loss_and_grad.loss;
        keep<kMode>(weighted<kMode>(factor, loss_and_grad.loss), losses, i);
        gradient[i] = grad_factor * loss_and_grad.gradient;
      }
      total += sum;
    }
    return weighted<kMode>(static_cast<double>(factor), total);
  }
};

template <Gamma kGamma, Mode kMode>
struct RowLoop {
  template <class Real>
  static FCOS_HD double run(const Real* __restrict__ logits, std::int32_t count,
                            std::int32_t positive, const FocalFactors<Real>& factors,
                            std::int32_t block, Real* __restrict__ losses,
                            Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    double total = 0;
    for (std::int32_t first = 0; first < count; first += block) {
      const std::int32_t end = count - first < block ? count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        const bool is_positive = i == positive;
        const Real x = is_positive ? -logits[i] : logits[i];
        const auto loss_and_grad = negative_term<kMode, kGamma>(x, gradient[i], factors.gamma);
        const Real factor = is_positive ? factors.positive : factors.negative;
        const Real loss = weighted<kMode>(factor, loss_and_grad.loss);
        sum += loss;
        keep<kMode>(loss, losses, i);
        gradient[i] = (is_positive ? -factor : factor) * factors.gradient * loss_and_grad.gradient;
      }
      total += sum;
    }
    return total;
  }
};

template <Gamma kGamma, Mode kMode>
struct ColumnLoop {
  template <class Real>
  static FCOS_HD double run(const Real* __restrict__ logits, std::int32_t count,
                            const std::int32_t* __restrict__ labels,
                            const Real* __restrict__ weights, std::int32_t channel,
                            const FocalFactors<Real>& factors, std::int32_t block,
                            Real* __restrict__ losses, Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    double total = 0;
    for (std::int32_t first = 0; first < count; first += block) {
      const std::int32_t end = count - first < block ? count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        const bool is_positive = labels[i] == channel;
        const bool is_ignored = labels[i] == math::kIgnored;
        const Real x = is_positive ? -logits[i] : logits[i];
        const auto loss_and_grad = negative_term<kMode, kGamma>(x, gradient[i], factors.gamma);
        const Real factor = (is_positive ? factors.positive : factors.negative) * weights[i];
        const Real loss = is_ignored ? Real(0) : weighted<kMode>(factor, loss_and_grad.loss);
        const Real grad =
            (is_positive ? -factor : factor) * factors.gradient * loss_and_grad.gradient;
        sum += loss;
        keep<kMode>(loss, losses, i);
        gradient[i] = is_ignored ? Real(0) : grad;
      }
      total += sum;
    }
    return total;
  }
};

template <Gamma kGamma, Mode kMode>
struct DenseLoop {
  template <class Real>
  static FCOS_HD math::LossAndGradient<Real> loss_and_grad(Real x, Real e, Real target,
                                                           Real gamma) {
    if constexpr (kMode == Mode::kAnywhere) {
      return math::focal_dense_anywhere<kGamma>(x, e, target, gamma);
    }
    return math::focal_dense<kGamma>(x, e, target, gamma);
  }

  template <class Real>
  static FCOS_HD double run(const Real* __restrict__ logits, std::int32_t count,
                            const Real* __restrict__ targets, const Real* __restrict__ weights,
                            const FocalFactors<Real>& factors, std::int32_t block,
                            Real* __restrict__ losses, Real* __restrict__ gradient) {
    store_exponentials(logits, count, gradient);
    double total = 0;
    for (std::int32_t first = 0; first < count; first += block) {
      const std::int32_t end = count - first < block ? count : first + block;
      Real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int32_t i = first; i < end; ++i) {
        const auto value = loss_and_grad(logits[i], gradient[i], targets[i], factors.gamma);
        const Real alpha =
            targets[i] * factors.positive + (Real(1) - targets[i]) * factors.negative;
        const Real factor = alpha * weights[i];
        const Real loss = weighted<kMode>(factor, value.loss);
        sum += loss;
        keep<kMode>(loss, losses, i);
        gradient[i] = factor * factors.gradient * value.gradient;
      }
      total += sum;
    }
    return total;
  }
};

// Runs the Loop<gamma, mode> for the gamma of `factors`. Logits are infinite so rarely that it
// looks for them afterwards, when they have made the sum so, or NaN.
template <template <Gamma, Mode> class Loop, class Real, class... Args>
double run_focal(const FocalFactors<Real>& factors, Real* losses, Real* gradient,
                 const Args&... args) {
  const std::int32_t block = sum_block();
  const auto run = [&](auto gamma) {
    const double sum =
        losses == nullptr
            ? run_best<Loop<gamma(), Mode::kSum>>(args..., factors, block, losses, gradient)
            : run_best<Loop<gamma(), Mode::kLosses>>(args..., factors, block, losses, gradient);
    if (std::isfinite(sum)) return sum;
    return run_baseline<Loop<gamma(), Mode::kAnywhere>>(args..., factors, block, losses, gradient);
  };
  if (factors.gamma == 0) return run(std::integral_constant<Gamma, Gamma::kZero>{});
  if (factors.gamma == 1) return run(std::integral_constant<Gamma, Gamma::kOne>{});
  if (factors.gamma == 2) return run(std::integral_constant<Gamma, Gamma::kTwo>{});
  return run(std::integral_constant<Gamma, Gamma::kAny>{});
}

}  // namespace

template <class Real>
double FocalLoops<Real>::negatives(const Factors& factors, const Real* logits, std::int32_t count,
                                   Real* losses, Real* gradient) {
  return run_focal<NegativeLoop>(factors, losses, gradient, logits, count);
}

template <class Real>
double FocalLoops<Real>::row(const Factors& factors, const Real* logits, std::int32_t count,
                             std::int32_t positive, Real* losses, Real* gradient) {
  return run_focal<RowLoop>(factors, losses, gradient, logits, count, positive);
}

template <class Real>
double FocalLoops<Real>::column(const Factors& factors, const Real* logits, std::int32_t count,
                                const std::int32_t* labels, const Real* weights,
                                std::int32_t channel, Real* losses, Real* gradient) {
  return run_focal<ColumnLoop>(factors, losses, gradient, logits, count, labels, weights, channel);
}

template <class Real>
double FocalLoops<Real>::dense(const Factors& factors, const Real* logits, std::int32_t count,
                               const Real* targets, const Real* weights, Real* losses,
                               Real* gradient) {
  return run_focal<DenseLoop>(factors, losses, gradient, logits, count, targets, weights);
}

template struct FocalLoops<float>;
template struct FocalLoops<double>;

}  // namespace fcos_ops::cpu::focal
