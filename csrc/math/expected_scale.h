// The scale that gradients are stored with, as the derivative of their loss is not known yet.
#pragma once

#include "math/elementary.h"

namespace fcos_ops::math {

// `factor` times the number of the device, if there is one; 1 stands in for what is no scale.
template <class Real>
FCOS_HD Real expected_scale(Real factor, const Real* number) {
  const Real value = number == nullptr ? factor : factor * *number;
  return value > Real(0) && value <= kLargest<Real> ? value : Real(1);
}

}  // namespace fcos_ops::math
