// The loop of the IoU losses over a block of pairs of boxes. For Real float and double.
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

// Writes the losses of pairs and their gradient by `pred`; returns the sum of the losses.
template <class Real>
double iou_pairs(IouKind kind, BoxFormat format, const IouFactors<Real>& factors,
                 const BoxBlock<const Real>& pred, const BoxBlock<const Real>& target,
                 const Real* weights, std::int32_t count, Real* losses,
                 const BoxBlock<Real>& gradient);

}  // namespace fcos_ops::cpu::iou
