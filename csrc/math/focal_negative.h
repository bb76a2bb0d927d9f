// Focal loss of a negative logit for gamma 2: what focal_negative<Gamma::kTwo> of focal.h computes,
// in the fewest instructions of a GPU. Its kernels spend their time on it.
#pragma once

#include <cmath>

#include "math/elementary.h"

namespace fcos_ops::math {

// Adds twice the loss p^2 softplus(x) of a negative logit to *twice_sum, and returns its derivative
// p^2 (2 (1 - p) softplus(x) + p) times grad_factor, for p = sigmoid(x). 23 instructions, of which
// two are special functions, if the sources are compiled with approximate division. Where both
// results are normal numbers, they are within 1.3e-6, and within 2.3e-6 if exp2 is off by 2^-22 and
// the reciprocal by 2^-23: the worst of 7 million logits in [-44, 88], with float32 rounded as
// here, against long double. The sum becomes infinite or NaN where |x| is above 2.3e38, so that it
// tells.
FCOS_HD float add_focal_negative(float x, float grad_factor, float* twice_sum) {
  // e = exp(-|x|) is 2^t times 1 + the rest that t, rounded, leaves: near -20 the loss has three
  // times the relative error of e, and that of 2^t alone is 1e-6.
  constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147182f;
  const float magnitude = absolute(x), t = multiply_in_loss(magnitude, -kLog2e);
  const float rest = fmaf(-t, kLn2, -magnitude), power_of_two = exp2f(t);
  const float e = fmaf(power_of_two, rest, power_of_two);
  const float larger = 1.0f / (1.0f + e), smaller = e * larger;
  // log1p(e) = e A(e) + w B(w), for w = smaller = e / (1 + e), where a polynomial in e takes eight
  // coefficients. These six are minimax in the relative error, for e in [0, 1], by Remez' exchange
  // over e, e^2, e^3, w, w^2, w^3: 3.8e-7, and 3.9e-7 with the coefficients rounded. Doubled, as x
  // + |x| is twice the positive part.
  const float a = fmaf(e, fmaf(e, 0.013003475f, -0.122991182f), 0.82352334f);
  const float b = fmaf(smaller, fmaf(smaller, 0.07738629f, 0.29938898f), 1.17647744f);
  const float twice_softplus = fmaf(smaller, b, fmaf(e, a, x + magnitude));
  const float p = select_by_sign(x, smaller, larger);
  const float one_minus_p = select_by_sign(x, larger, smaller);
  const float p2 = p * p;
  *twice_sum = fmaf(p2, twice_softplus, *twice_sum);
  return p2 * grad_factor * fmaf(one_minus_p, twice_softplus, p);
}

}  // namespace fcos_ops::math
