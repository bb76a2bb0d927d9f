// The loops of the IoU losses that the compiler vectorises; each returns the sum of its losses. For
// sources compiled without contraction.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/boxes.h"
#include "math/iou.h"

namespace fcos_ops::cpu {

// What multiplies the loss of every pair, and then the gradient alone.
template <class Real>
struct IouFactors {
  Real loss, gradient;
  Real sign, limit, eps;  // see math::iou_loss
};

template <IouKind kKind>
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
      const auto pair = math::iou_loss<kKind>(p, t, f.sign, f.limit, f.eps);
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
