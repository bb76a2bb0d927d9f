// The loop of the IoU losses over a block of pairs of boxes, for Real float and double.
#pragma once

#include <cstdint>

#include "cpu/common/boxes.h"
#include "fcos_ops/iou_loss.h"

namespace fcos_ops::cpu::iou {

// The factor of the loss of every pair, and that of the gradient alone.
template <class Real>
struct IouFactors {
  Real loss, gradient;
  Real eps;  // see math::iou_loss
};

// Pairs of boxes, and where their losses and gradient go.
template <class Real>
struct Pairs {
  BoxBlock<const Real> pred, target;
  const Real* weights;
  std::int32_t count;
  IouFactors<Real> factors;
  Real* losses;
  BoxBlock<Real> gradient;  // by `pred`
};

// Returns the sum of the losses.
template <class Real>
double iou_pairs(IouKind kind, BoxFormat format, const Pairs<Real>& pairs);

}  // namespace fcos_ops::cpu::iou
