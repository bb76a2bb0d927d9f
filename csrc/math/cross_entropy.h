// Binary cross entropy of one logit, with its derivative.
#pragma once

#include "math/focal.h"

namespace fcos_ops::math {

// -(t log p + (1 - t) log(1 - p)) with p = sigmoid(x), and p - t; each accurate at t = 0 and t = 1.
// An infinite logit costs nothing where t is on its side, else infinity.
template <class Real>
FCOS_HD LossAndGradient<Real> binary_cross_entropy(Real x, Real t) {
  const Sigmoid<Real> s = sigmoid_and_softplus(x, exp_minus_absolute(x));
  const Real wrong = wrong_share(x, t);
  const Real linear = select(wrong == Real(0), Real(0), wrong * absolute(x));
  return {linear + s.log_sum, (Real(1) - t) * s.p - t * s.one_minus_p};
}

}  // namespace fcos_ops::math
