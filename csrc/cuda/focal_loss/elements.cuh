// Focal loss of the elements of a vector, for the kernels of focal loss alone and in the whole FCOS
// loss.
#pragma once

#include <type_traits>

#include "common/dtypes.h"
#include "cuda/common/fast_divisor.h"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "math/focal.h"
#include "math/labels.h"

namespace fcos_ops::cuda::focal {

using math::Gamma;

inline constexpr unsigned kFocalThreads = 128;  // of a block

// A logit without any effect: it costs exactly 0 as a negative, and so does its gradient.
inline constexpr float kInertLogit = -1e4f;

// The source of an element's target.
enum class Labels {
  kPerRow,   // a label for each row
  kMatches,  // the label of the box that a row matches
  kDense,    // a number for each element
};

// A level of an array; strides are in elements.
template <class Pointer>
struct LevelArray {
  Pointer data = nullptr;
  std::int64_t stride_batch = 0, stride_y = 0, stride_x = 0, stride_channel = 0;
};

struct FocalLevel {
  std::int64_t width = 0;
  bool is_class_major = false;  // in each array the locations of an image are contiguous
  LevelArray<const void*> logits, targets;
  LevelArray<void*> losses, gradient;
};

// FocalLossArgs, or the classes of FcosLossArgs, as a kernel argument.
template <class Real>
struct FocalArguments {
  FocalLevel level[kMaxLevels];
  std::int32_t num_classes;
  FastDivisor class_divisor = FastDivisor(1);
  const void* labels;
  DType label_dtype;
  const std::int32_t* matched;  // of each row, a box; none outside [0, num_boxes)
  std::int64_t num_boxes;
  const Real* weight;
  Normalizer normalizer;
  Real positive_scale, negative_scale, gamma;
  const Real* gradient_scale;
  bool gradient_is_real;  // else it is stored as the logits are
};

// The factors of the loss of a positive and of a negative entry, and that of the gradient alone.
template <class Real>
struct FocalFactors {
  Real positive, negative, gradient;
};

// Computed in the type of the maths: a division of float64 costs more than all logits of a thread
// where the GPU has few units for it.
template <class Real>
__device__ __forceinline__ FocalFactors<Real> focal_factors(const FocalArguments<Real>& args) {
  Real inverse = 1;
  if (const Normalizer& normalizer = args.normalizer; normalizer.data != nullptr) {
    const auto value = math::dispatch(math::Numbers{}, normalizer.dtype, [&](auto type) {
      return static_cast<Real>(read(*type.array(normalizer.data)));
    });
    const auto floor = static_cast<Real>(normalizer.floor);  // a normal number
    inverse = Real(1) / (value < floor ? floor : value);
  }
  return {args.positive_scale * inverse, args.negative_scale * inverse,
          args.gradient_scale == nullptr ? Real(1) : *args.gradient_scale};
}

// Addresses of one element in all arrays. An array that is not there is null; of the two for the
// gradient at most one is there.
template <class T>
struct FocalCursor {
  using Real = math::Real<T>;
  const T* logits;
  const Real* targets;
  Real* losses;
  T* gradient;
  Real* real_gradient;

  __device__ __forceinline__ FocalCursor operator+(std::int64_t elements) const {
    return {logits + elements, targets ? targets + elements : nullptr,
            losses ? losses + elements : nullptr, gradient ? gradient + elements : nullptr,
            real_gradient ? real_gradient + elements : nullptr};
  }

  __device__ __forceinline__ void write(const math::LossAndGradient<Real>& loss_and_grad) const {
    if (losses != nullptr) *losses = loss_and_grad.loss;
    if (gradient != nullptr) cuda::write(loss_and_grad.gradient, *gradient);
    if (real_gradient != nullptr) *real_gradient = loss_and_grad.gradient;
  }
};

// `offset` gives that of the element in an array.
template <class T, class Offset>
__device__ __forceinline__ FocalCursor<T> focal_cursor(const FocalArguments<math::Real<T>>& args,
                                                       const FocalLevel& level,
                                                       const Offset& offset) {
  using Real = math::Real<T>;
  FocalCursor<T> cursor = {static_cast<const T*>(level.logits.data) + offset(level.logits), nullptr,
                           nullptr, nullptr, nullptr};
  if (level.targets.data != nullptr) {
    cursor.targets = static_cast<const Real*>(level.targets.data) + offset(level.targets);
  }
  if (level.losses.data != nullptr) {
    cursor.losses = static_cast<Real*>(level.losses.data) + offset(level.losses);
  }
  if (level.gradient.data != nullptr) {
    const std::int64_t elements = offset(level.gradient);
    if (args.gradient_is_real) {
      cursor.real_gradient = static_cast<Real*>(level.gradient.data) + elements;
    } else {
      cursor.gradient = static_cast<T*>(level.gradient.data) + elements;
    }
  }
  return cursor;
}

// Logits are infinite so rarely that a thread looks for them after its tiles, when they have made
// its sum infinite or NaN, and then does all of them again: that costs the first pass nothing, not
// even a register.
__device__ __forceinline__ bool has_infinite(double sum) {
  return !(math::absolute(sum) <= math::kLargest<double>);
}

// What the label of a row is found by: itself, or the box that the row matches.
template <Labels kLabels>
using StoredLabel = std::conditional_t<kLabels == Labels::kMatches, std::int32_t, std::int64_t>;

// A row's label and weight. An invalid label is background of weight NaN.
template <class Real>
struct FocalRow {
  std::int32_t label;
  Real weight;
};

template <class T, Gamma kGamma, Labels kLabels>
class ElementLoss {
  static constexpr bool kDense = kLabels == Labels::kDense;

 public:
  using Real = math::Real<T>;
  static constexpr int kCount = kVector<T>;

  __device__ ElementLoss(const FocalArguments<Real>& args, const FocalFactors<Real>& factors)
      : args_(args), factors_(factors) {}

  __device__ __forceinline__ const FocalFactors<Real>& factors() const { return factors_; }

  static __device__ __forceinline__ StoredLabel<kLabels> stored_label(
      const FocalArguments<Real>& args, std::int64_t row) {
    if constexpr (kLabels == Labels::kMatches) return args.matched[row];
    return static_cast<StoredLabel<kLabels>>(
        math::read_integer(args.labels, args.label_dtype, row));
  }

  // The label of a row: a class, or one of those of math/labels.h.
  static __device__ __forceinline__ std::int32_t label_of(const FocalArguments<Real>& args,
                                                          StoredLabel<kLabels> stored) {
    std::int64_t value = stored;
    if constexpr (kLabels == Labels::kMatches) {
      if (stored < 0 || stored >= args.num_boxes) return math::kBackground;
      value = math::read_integer(args.labels, args.label_dtype, stored);
    }
    return math::checked_label(value, args.num_classes);
  }
  static __device__ __forceinline__ std::int32_t label(const FocalArguments<Real>& args,
                                                       std::int64_t row) {
    return label_of(args, stored_label(args, row));
  }

  __device__ __forceinline__ FocalRow<Real> row(std::int64_t index) const {
    const Real weight = args_.weight == nullptr ? Real(1) : args_.weight[index];
    if constexpr (kDense) return {math::kBackground, weight};
    const std::int32_t value = label(args_, index);
    if (value == math::kInvalidLabel) return {math::kBackground, math::kNaN<Real>};
    return {value, weight};
  }

  // One element of a row; `target` counts where targets are dense, else `is_positive`.
  __device__ __forceinline__ math::LossAndGradient<Real> entry(Real logit, Real target,
                                                               bool is_positive,
                                                               const FocalRow<Real>& row) const {
    if constexpr (kDense) {
      const Real e = math::exp_minus_absolute(logit);
      const auto loss_and_grad =
          args_.gamma == Real(2) ? math::focal_dense<Gamma::kTwo>(logit, e, target, args_.gamma)
                                 : math::focal_dense<Gamma::kAny>(logit, e, target, args_.gamma);
      const Real alpha = target * factors_.positive + (Real(1) - target) * factors_.negative;
      const Real factor = alpha * row.weight;
      return {factor * loss_and_grad.loss, factor * factors_.gradient * loss_and_grad.gradient};
    }
    if (row.label == math::kIgnored) return {Real(0), Real(0)};
    const auto loss_and_grad =
        negative(is_positive ? -logit : logit, math::exp_minus_absolute(logit));
    const Real factor = (is_positive ? factors_.positive : factors_.negative) * row.weight;
    const Real grad_factor = (is_positive ? -factor : factor) * factors_.gradient;
    return {factor * loss_and_grad.loss, grad_factor * loss_and_grad.gradient};
  }

  // entry() for a logit that may be infinite: the limits of loss and gradient.
  __device__ __forceinline__ math::LossAndGradient<Real> entry_anywhere(
      Real logit, Real target, bool is_positive, const FocalRow<Real>& row) const {
    constexpr Real kLargest = math::kLargest<Real>;
    if (!(math::absolute(logit) > kLargest)) return entry(logit, target, is_positive, row);
    // At the largest number, sigmoids are 0 and 1 exactly, and products with 0 are 0.
    auto loss_and_grad = entry(logit > 0 ? kLargest : -kLargest, target, is_positive, row);
    const Real share = math::wrong_share(logit, kDense ? target : Real(is_positive));
    const Real factor =
        (kDense ? target * factors_.positive + (Real(1) - target) * factors_.negative
                : (is_positive ? factors_.positive : factors_.negative)) *
        row.weight;
    if (row.label != math::kIgnored && share > 0 && factor != 0) {
      loss_and_grad.loss = factor * math::kInfinity<Real>;
    }
    return loss_and_grad;
  }

  // A call of math::focal_negative. The whole FCOS loss takes kAny for gamma = 0 too, where u^gamma
  // is 1 even at u = 0.
  __device__ __forceinline__ math::LossAndGradient<Real> negative(Real logit, Real e) const {
    const auto loss_and_grad = math::focal_negative<kGamma>(logit, e, args_.gamma);
    if constexpr (kGamma == Gamma::kAny && kLabels == Labels::kMatches) {
      const auto unfocused = math::focal_negative<Gamma::kZero>(logit, e, args_.gamma);
      const bool is_unfocused = args_.gamma == Real(0);
      return {math::select(is_unfocused, unfocused.loss, loss_and_grad.loss),
              math::select(is_unfocused, unfocused.gradient, loss_and_grad.gradient)};
    }
    return loss_and_grad;
  }

  // The sum of the losses of negative elements of one weight, and their gradients.
  __device__ __forceinline__ Real negatives(const Real (&logits)[kCount], Real weight,
                                            Real (&gradient)[kCount]) const {
    const Real factor = factors_.negative * weight, grad_factor = factor * factors_.gradient;
    Real sum = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const auto loss_and_grad = negative(logits[i], math::exp_minus_absolute(logits[i]));
      sum += loss_and_grad.loss;
      gradient[i] = grad_factor * loss_and_grad.gradient;
    }
    return factor * sum;
  }

 private:
  const FocalArguments<Real>& args_;
  FocalFactors<Real> factors_;
};

template <class T, int kCount>
__device__ __forceinline__ void store_gradient(const math::Real<T> (&values)[kCount], int count,
                                               const FocalCursor<T>& to) {
  if (to.gradient != nullptr) store_up_to<T>(values, count, to.gradient);
  if constexpr (!std::is_same_v<T, math::Real<T>>) {
    if (to.real_gradient != nullptr) store_up_to<math::Real<T>>(values, count, to.real_gradient);
  }
}

}  // namespace fcos_ops::cuda::focal
