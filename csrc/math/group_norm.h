// Mean and variance of a group, and the maths of one element of group normalization and of its
// gradient (Wu and He, arXiv 1803.08494).
#pragma once

#include <cmath>

#include "math/elementary.h"

namespace fcos_ops::math {

// Mean (base + offset) and sum of squared deviations from it of some values. The base is one of
// them, or near their mean: where that is large beside the deviations, differences to it are exact.
template <class Real>
struct Moments {
  Real base, offset, squares;
};

// The moments of `count` values from the sums of their differences to `base`, and of the squares.
// If the base is one of them, what cancels is at most `count` times as large as the result.
template <class Real>
FCOS_HD Moments<Real> moments_of_sums(Real base, Real sum, Real sum_of_squares, Real count) {
  const Real offset = sum / count, squares = sum_of_squares - sum * offset;
  return {base, offset, squares < Real(0) ? Real(0) : squares};
}

// A base for moments_of_sums(): the median of three values far apart, so that a single outlier is
// none, against which the others would lose their digits.
template <class Real>
FCOS_HD Real median(Real a, Real b, Real c) {
  const Real low = a < b ? a : b, high = a < b ? b : a;
  return c < low ? low : (c > high ? high : c);
}

// What MergedMoments adds up: of sets, or of other sums from the same base and offset.
template <class Real>
struct MomentSums {
  Real sum, squares, count;
};

// The moments of a union of disjoint sets, from the deviations from base + offset.
template <class Real>
class MergedMoments {
 public:
  FCOS_HD MergedMoments(Real base, Real offset) : base_(base), offset_(offset) {}

  template <class Other>
  FCOS_HD void add(const Moments<Other>& set, Real count) {
    const Real difference =
        (static_cast<Real>(set.base) - base_) + (static_cast<Real>(set.offset) - offset_);
    const Real product = count * difference;
    add({product, static_cast<Real>(set.squares) + product * difference, count});
  }
  FCOS_HD void add(const MomentSums<Real>& sums) {
    sums_.sum += sums.sum;
    sums_.squares += sums.squares;
    sums_.count += sums.count;
  }

  FCOS_HD const MomentSums<Real>& sums() const { return sums_; }

  FCOS_HD Moments<Real> moments() const {
    const Moments<Real> all = moments_of_sums(Real(0), sums_.sum, sums_.squares, sums_.count);
    return {base_, offset_ + all.offset, all.squares};
  }

 private:
  Real base_, offset_;
  MomentSums<Real> sums_ = {0, 0, 0};
};

// Mean and 1 / sqrt(variance + eps) of a group, as they are kept; 0 and 0 of one without elements.
struct GroupStatistics {
  double mean, inverse_deviation;
};
template <class Real>
FCOS_HD GroupStatistics group_statistics(const Moments<Real>& moments, double count, double eps) {
  if (!(count > 0)) return {0, 0};
  const double variance = static_cast<double>(moments.squares) / count;
  return {static_cast<double>(moments.base) + static_cast<double>(moments.offset),
          1.0 / std::sqrt(variance + eps)};
}

// x without the mean, which comes in two parts: the first is near enough to x for an exact
// difference where it matters.
template <class Real>
FCOS_HD Real centered(Real x, Real mean_high, Real mean_low) {
  return (x - mean_high) - mean_low;
}

// What normalizes the elements of a channel.
template <class Real>
struct ChannelNorm {
  Real mean_high, mean_low, scale, bias;

  FCOS_HD Real centered(Real x) const { return math::centered(x, mean_high, mean_low); }
};
template <class Real>
FCOS_HD ChannelNorm<Real> channel_norm(const GroupStatistics& group, Real weight, Real bias) {
  const auto high = static_cast<Real>(group.mean);
  const auto low = static_cast<Real>(group.mean - static_cast<double>(high));
  return {high, low, static_cast<Real>(group.inverse_deviation) * weight, bias};
}

// `centered` is x without the mean.
template <bool kRelu, class Real>
FCOS_HD Real normalized(Real centered, Real scale, Real bias) {
  const Real y = multiply_add_in_loss(centered, scale, bias);
  return kRelu && y < Real(0) ? Real(0) : y;
}

// The derivative by what goes into the activation: 0 where a ReLU cut off. It passes a NaN, as
// torch's does.
template <bool kRelu, class Real>
FCOS_HD Real before_activation(Real gradient, Real centered, Real scale, Real bias) {
  const Real y = multiply_add_in_loss(centered, scale, bias);
  return kRelu && y <= Real(0) ? Real(0) : gradient;
}

// What the derivatives by the elements of a group have in common.
template <class Real>
struct GradientOffsets {
  Real constant, slope;
};

// The derivative by x; `gradient` is that by what goes into the activation.
template <class Real>
FCOS_HD Real gradient_by_x(Real gradient, Real centered, Real scale, Real constant, Real slope) {
  return scale * gradient - (constant + slope * centered);
}

// Of a group of `count` elements: `sum` is the sum of weight * gradient, `product_sum` that of
// weight * gradient * centered.
template <class Real>
FCOS_HD GradientOffsets<Real> gradient_offsets(double inverse_deviation, double sum,
                                               double product_sum, double count) {
  const double per_element = inverse_deviation / count;
  return {static_cast<Real>(per_element * sum),
          static_cast<Real>(per_element * inverse_deviation * inverse_deviation * product_sum)};
}

}  // namespace fcos_ops::math
