// Loops over a run of locations whose channels are neighbours in memory (channels_last): arrays
// with one number a channel hold what normalizes it, and collect its sums.
#pragma once

#include "cpu/common/isa.h"
#include "math/group_norm.h"
#include "math/half.h"

namespace fcos_ops::cpu::norm {

// `count` rows of `channels` elements, `stride` apart.
template <class T>
struct Rows {
  T* data;
  std::int64_t stride;
  std::int32_t count;

  FCOS_HD T* operator[](std::int32_t row) const { return data + row * stride; }
};

// An array for each field of math::ChannelNorm, of one number a channel.
template <class Real>
struct ChannelNorms {
  Real *mean_high, *mean_low, *scale, *bias;
};

// The sums of moments take four rows at a time: what is kept of a channel is then read and written
// once for four.
constexpr std::int32_t kRowsAtOnce = 4;

// Sums of differences to `base`, an array of one number a channel, and of their squares.
struct RowMomentsLoop {
  template <class T, class Real>
  static FCOS_HD int run(const Rows<const T>& x, std::int32_t channels, Real* __restrict__ base,
                         Real* __restrict__ sums, Real* __restrict__ squares) {
    for (std::int32_t c = 0; c < channels; ++c) sums[c] = squares[c] = 0;
    std::int32_t row = 0;
    for (; row + kRowsAtOnce <= x.count; row += kRowsAtOnce) {
      const T* __restrict__ x0 = x[row];
      const T* __restrict__ x1 = x[row + 1];
      const T* __restrict__ x2 = x[row + 2];
      const T* __restrict__ x3 = x[row + 3];
#pragma omp simd
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real d0 = math::to_real(x0[c]) - base[c], d1 = math::to_real(x1[c]) - base[c];
        const Real d2 = math::to_real(x2[c]) - base[c], d3 = math::to_real(x3[c]) - base[c];
        sums[c] += (d0 + d1) + (d2 + d3);
        squares[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
      }
    }
    for (; row < x.count; ++row) {
      const T* __restrict__ x0 = x[row];
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real d = math::to_real(x0[c]) - base[c];
        sums[c] += d;
        squares[c] += d * d;
      }
    }
    return 0;
  }
};

template <bool kRelu>
struct RowNormLoop {
  template <class T, class Real>
  static FCOS_HD int run(const Rows<const T>& x, std::int32_t channels,
                         const ChannelNorms<Real>& norms, const Rows<T>& y) {
    const Real* __restrict__ high = norms.mean_high;
    const Real* __restrict__ low = norms.mean_low;
    const Real* __restrict__ scale = norms.scale;
    const Real* __restrict__ bias = norms.bias;
    for (std::int32_t row = 0; row < x.count; ++row) {
      const T* __restrict__ from = x[row];
      T* __restrict__ to = y[row];
#pragma omp simd
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real centered = math::centered(math::to_real(from[c]), high[c], low[c]);
        math::from_real(math::normalized<kRelu>(centered, scale[c], bias[c]), to[c]);
      }
    }
    return 0;
  }
};

template <bool kRelu>
struct RowSumsLoop {
  template <class T, class Real>
  static FCOS_HD int run(const Rows<const T>& x, const Rows<const T>& gradient,
                         std::int32_t channels, const ChannelNorms<Real>& norms,
                         Real* __restrict__ sums, Real* __restrict__ product_sums) {
    const Real* __restrict__ high = norms.mean_high;
    const Real* __restrict__ low = norms.mean_low;
    const Real* __restrict__ scale = norms.scale;
    const Real* __restrict__ bias = norms.bias;
    for (std::int32_t c = 0; c < channels; ++c) sums[c] = product_sums[c] = 0;
    std::int32_t row = 0;
    for (; row + 2 <= x.count; row += 2) {
      const T* __restrict__ x0 = x[row];
      const T* __restrict__ x1 = x[row + 1];
      const T* __restrict__ gradient0 = gradient[row];
      const T* __restrict__ gradient1 = gradient[row + 1];
#pragma omp simd
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real c0 = math::centered(math::to_real(x0[c]), high[c], low[c]);
        const Real c1 = math::centered(math::to_real(x1[c]), high[c], low[c]);
        const Real g0 =
            math::before_activation<kRelu>(math::to_real(gradient0[c]), c0, scale[c], bias[c]);
        const Real g1 =
            math::before_activation<kRelu>(math::to_real(gradient1[c]), c1, scale[c], bias[c]);
        sums[c] += g0 + g1;
        product_sums[c] += g0 * c0 + g1 * c1;
      }
    }
    for (; row < x.count; ++row) {
      const T* __restrict__ x0 = x[row];
      const T* __restrict__ gradient0 = gradient[row];
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real c0 = math::centered(math::to_real(x0[c]), high[c], low[c]);
        const Real g0 =
            math::before_activation<kRelu>(math::to_real(gradient0[c]), c0, scale[c], bias[c]);
        sums[c] += g0;
        product_sums[c] += g0 * c0;
      }
    }
    return 0;
  }
};

template <bool kRelu>
struct RowGradientLoop {
  template <class T, class Real>
  static FCOS_HD int run(const Rows<const T>& x, const Rows<const T>& gradient,
                         std::int32_t channels, const ChannelNorms<Real>& norms,
                         const Real* __restrict__ constants, const Real* __restrict__ slopes,
                         const Rows<T>& grad_x) {
    const Real* __restrict__ high = norms.mean_high;
    const Real* __restrict__ low = norms.mean_low;
    const Real* __restrict__ scale = norms.scale;
    const Real* __restrict__ bias = norms.bias;
    for (std::int32_t row = 0; row < x.count; ++row) {
      const T* __restrict__ from = x[row];
      const T* __restrict__ gradient0 = gradient[row];
      T* __restrict__ to = grad_x[row];
#pragma omp simd
      for (std::int32_t c = 0; c < channels; ++c) {
        const Real centered = math::centered(math::to_real(from[c]), high[c], low[c]);
        const Real g = math::before_activation<kRelu>(math::to_real(gradient0[c]), centered,
                                                      scale[c], bias[c]);
        math::from_real(math::gradient_by_x(g, centered, scale[c], constants[c], slopes[c]), to[c]);
      }
    }
    return 0;
  }
};

}  // namespace fcos_ops::cpu::norm
