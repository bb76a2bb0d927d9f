// Loops over a line of a channel's elements, in the type of the maths, for maps whose neighbours in
// memory are neighbours along x.
#pragma once

#include "cpu/common/isa.h"
#include "math/group_norm.h"

namespace fcos_ops::cpu::norm {

// Sums of two quantities over [0, count), in an order that depends on nothing but `count`: eight
// chains of additions, as one would wait for itself. `add(i, sum, other)` adds those of element i.
template <class Real, class Add>
FCOS_HD void sum_two(std::int32_t count, const Add& add, Real& sum, Real& other) {
  Real s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
  const std::int32_t quarter = count / 4;
#pragma omp simd reduction(+ : s0, s1, s2, s3, t0, t1, t2, t3)
  for (std::int32_t i = 0; i < quarter; ++i) {
    add(i, s0, t0);
    add(i + quarter, s1, t1);
    add(i + 2 * quarter, s2, t2);
    add(i + 3 * quarter, s3, t3);
  }
  for (std::int32_t i = 4 * quarter; i < count; ++i) add(i, s0, t0);
  sum = (s0 + s1) + (s2 + s3);
  other = (t0 + t1) + (t2 + t3);
}

// In two passes, as a line is long: from the mean of the first nothing cancels in the second.
struct LineMomentsLoop {
  template <class Real>
  static FCOS_HD math::Moments<Real> run(const Real* __restrict__ x, std::int32_t count) {
    Real base = x[0], sum, squares;
    const auto add = [&](std::int32_t i, Real& s, Real& t) __attribute__((always_inline)) {
      const Real difference = x[i] - base;
      s += difference;
      t += difference * difference;
    };
    sum_two(count, add, sum, squares);
    base += sum / static_cast<Real>(count);
    sum_two(count, add, sum, squares);
    return math::moments_of_sums(base, sum, squares, static_cast<Real>(count));
  }
};

template <bool kRelu>
struct LineNormLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ x, std::int32_t count,
                         const math::ChannelNorm<Real>& norm, Real* __restrict__ y) {
    const Real scale = norm.scale, bias = norm.bias;
    for (std::int32_t i = 0; i < count; ++i) {
      y[i] = math::normalized<kRelu>(norm.centered(x[i]), scale, bias);
    }
    return 0;
  }
};

// Sums over some elements of a channel of what came back for them (before_activation), and of that
// times the centered x.
struct ChannelSums {
  double gradient = 0, product = 0;
};

template <bool kRelu>
struct LineSumsLoop {
  template <class Real>
  static FCOS_HD ChannelSums run(const Real* __restrict__ x, const Real* __restrict__ gradient,
                                 std::int32_t count, const math::ChannelNorm<Real>& norm) {
    const Real high = norm.mean_high, low = norm.mean_low, scale = norm.scale, bias = norm.bias;
    Real sum, product_sum;
    const auto add = [&](std::int32_t i, Real& s, Real& t) __attribute__((always_inline)) {
      const Real centered = math::centered(x[i], high, low);
      const Real g = math::before_activation<kRelu>(gradient[i], centered, scale, bias);
      s += g;
      t += g * centered;
    };
    sum_two(count, add, sum, product_sum);
    return {static_cast<double>(sum), static_cast<double>(product_sum)};
  }
};

template <bool kRelu>
struct LineGradientLoop {
  template <class Real>
  static FCOS_HD int run(const Real* __restrict__ x, const Real* __restrict__ gradient,
                         std::int32_t count, const math::ChannelNorm<Real>& norm,
                         const math::GradientOffsets<Real>& offsets, Real* __restrict__ grad_x) {
    const Real scale = norm.scale, bias = norm.bias;
    const Real constant = offsets.constant, slope = offsets.slope;
    for (std::int32_t i = 0; i < count; ++i) {
      const Real centered = norm.centered(x[i]);
      const Real g = math::before_activation<kRelu>(gradient[i], centered, scale, bias);
      grad_x[i] = math::gradient_by_x(g, centered, scale, constant, slope);
    }
    return 0;
  }
};

}  // namespace fcos_ops::cpu::norm
