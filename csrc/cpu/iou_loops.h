// The loops of the IoU losses that the compiler vectorises; each returns the sum of its losses. For
// sources compiled without contraction.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/boxes.h"
#include "cpu/isa.h"
#include "math/iou.h"

namespace fcos_ops::cpu {

// What multiplies the loss of every pair, and then the gradient alone.
template <class Real>
struct IouFactors {
  Real loss, gradient;
  Real limit, eps;  // see math::iou_loss
};

// Whether a coordinate of a block is beyond the limit. Almost none is, so that the loop below can
// mostly do without clamping.
struct BeyondLimitLoop {
  template <class Real>
  static FCOS_HD bool run(const BoxBlock<const Real>& boxes, std::int32_t count, Real limit) {
    const auto [a, b, c, d] = boxes.coordinate;
    Real low = 0, high = 0;
#pragma omp simd reduction(max : low, high)
    for (std::int32_t i = 0; i < count; ++i) {
      // In this order a NaN hides no other coordinate.
      low = math::maximum(math::absolute(a[i]), math::maximum(math::absolute(b[i]), low));
      high = math::maximum(math::absolute(c[i]), math::maximum(math::absolute(d[i]), high));
    }
    return low > limit || high > limit;
  }
};

template <IouKind kKind, BoxFormat kFormat, bool kClamp>
struct PairLoop {
  template <class Real>
  static FCOS_HD Real run(const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
                          const Real* __restrict__ weights, std::int32_t count,
                          const IouFactors<Real>& factors, Real* __restrict__ losses,
                          const BoxBlock<Real>& gradient) {
    const auto [p0, p1, p2, p3] = pred.coordinate;
    const auto [t0, t1, t2, t3] = target.coordinate;
    const auto [g0, g1, g2, g3] = gradient.coordinate;
    const IouFactors<Real> f = factors;
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int32_t i = 0; i < count; ++i) {
      const Real p[4] = {p0[i], p1[i], p2[i], p3[i]};
      const Real t[4] = {t0[i], t1[i], t2[i], t3[i]};
      math::BoxLoss<Real> pair;
      if constexpr (kClamp) {
        pair = math::iou_loss<kKind, kFormat>(p, t, f.limit, f.eps);
      } else {
        pair = math::iou_loss_within_limit<kKind, kFormat>(p, t, f.eps);
      }
      const Real factor = f.loss * weights[i];
      const Real loss = factor * pair.loss;
      sum += loss;
      losses[i] = loss;
      g0[i] = factor * f.gradient * pair.gradient[0];
      g1[i] = factor * f.gradient * pair.gradient[1];
      g2[i] = factor * f.gradient * pair.gradient[2];
      g3[i] = factor * f.gradient * pair.gradient[3];
    }
    return sum;
  }
};

// Runs the loop over a block.
template <IouKind kKind, BoxFormat kFormat, class Real>
Real run_pairs(const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
               const Real* weights, std::int32_t count, const IouFactors<Real>& factors,
               Real* losses, const BoxBlock<Real>& gradient) {
  const bool clamp = run_best<BeyondLimitLoop>(pred, count, factors.limit) ||
                     run_best<BeyondLimitLoop>(target, count, factors.limit);
  if (clamp) {  // too rare to compile it for AVX2 as well, which would compute the same
    return run_baseline<PairLoop<kKind, kFormat, true>>(pred, target, weights, count, factors,
                                                        losses, gradient);
  }
  return run_best<PairLoop<kKind, kFormat, false>>(pred, target, weights, count, factors, losses,
                                                   gradient);
}

// Calls body(std::integral_constant<IouKind, ...>).
template <class Body>
auto dispatch_kind(IouKind kind, const Body& body) {
  switch (kind) {
    case IouKind::kIou:
      return body(std::integral_constant<IouKind, IouKind::kIou>{});
    case IouKind::kLinearIou:
      return body(std::integral_constant<IouKind, IouKind::kLinearIou>{});
    case IouKind::kGiou:
      return body(std::integral_constant<IouKind, IouKind::kGiou>{});
    case IouKind::kDiou:
      return body(std::integral_constant<IouKind, IouKind::kDiou>{});
    default:
      return body(std::integral_constant<IouKind, IouKind::kCiou>{});
  }
}

}  // namespace fcos_ops::cpu
