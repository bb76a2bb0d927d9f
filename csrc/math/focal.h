// Sigmoid focal loss of one logit, with its derivative, from one exp, one log1p and one division.
#pragma once

#include <cmath>

#include "math/elementary.h"

namespace fcos_ops::math {

// Values of gamma with a loop of their own; kAny takes the exponent at run time.
enum class Gamma { kZero, kOne, kTwo, kAny };

// The weights of positive and negative entries; a negative alpha weighs none.
struct AlphaWeights {
  double positive, negative;
};

FCOS_HD AlphaWeights alpha_weights(double alpha) {
  if (alpha >= 0.0) return {alpha, 1.0 - alpha};
  return {1.0, 1.0};
}

template <class Real>
struct LossAndGradient {
  Real loss, gradient;
};

template <class Real>
FCOS_HD Real exp_minus_absolute(Real x) {
  return exp_in_loss(-absolute(x));
}

// Functions of one logit x: sigmoid(x), sigmoid(-x), softplus(x) = -log(sigmoid(-x)), softplus(-x)
// = -log(sigmoid(x)), and what the larger of these two is above |x|; each is accurate in relative
// terms, and what is not used costs nothing.
template <class Real>
struct Sigmoid {
  Real p, one_minus_p, softplus, softplus_minus, log_sum;
};

// Takes x and e = exp(-|x|). softplus(-x) is NaN at x = infinity.
template <class Real>
FCOS_HD Sigmoid<Real> sigmoid_and_softplus(Real x, Real e) {
  const Real larger = reciprocal_in_loss(Real(1) + e);
  const Real smaller = e * larger;
  const Real log_sum = log1p_in_loss(e);
  const Real positive_part = select_by_sign(x, Real(0), x), negative_part = positive_part - x;
  return {select_by_sign(x, smaller, larger), select_by_sign(x, larger, smaller),
          positive_part + log_sum, negative_part + log_sum, log_sum};
}

// The share of a target t in [0, 1] that a logit x is on the wrong side of.
template <class Real>
FCOS_HD Real wrong_share(Real x, Real t) {
  return select_by_sign(x, t, Real(1) - t);
}

// u^gamma for u = sigmoid(x), given softplus(-x) = -log(u).
template <Gamma kGamma, class Real>
FCOS_HD Real power(Real u, Real minus_log_u, Real gamma) {
  if constexpr (kGamma == Gamma::kZero) return Real(1);
  if constexpr (kGamma == Gamma::kOne) return u;
  if constexpr (kGamma == Gamma::kTwo) return u * u;
  return exp_in_loss(-gamma * minus_log_u);
}

// Below, e = exp_minus_absolute(x): a loop over many logits computes it in a pass of its own.

// The loss sigmoid(x)^gamma * softplus(x) of a negative logit, and its derivative
// p^gamma (gamma (1 - p) softplus(x) + p). A positive logit x is a negative one at -x. For
// x < infinity; at infinity the loss is infinite or NaN, so that a sum of losses tells.
template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_negative(Real x, Real e, Real gamma) {
  const Sigmoid<Real> s = sigmoid_and_softplus(x, e);
  const Real modulation = power<kGamma>(s.p, s.softplus_minus, gamma);
  Real grad = s.p;
  if constexpr (kGamma == Gamma::kOne) grad += s.one_minus_p * s.softplus;
  if constexpr (kGamma == Gamma::kTwo) {
    grad = multiply_add_in_loss(Real(2) * s.one_minus_p, s.softplus, grad);
  }
  if constexpr (kGamma == Gamma::kAny) grad += gamma * s.one_minus_p * s.softplus;
  return {modulation * s.softplus, modulation * grad};
}

// Loss and derivative for a target t in [0, 1], without alpha. With u = 1 - p_t:
// u^gamma BCE and u^gamma (gamma (du/dx / u) BCE + p - t). For a finite x; at an infinite one the
// loss is infinite or NaN unless all is right.
template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_dense(Real x, Real e, Real t, Real gamma) {
  const Sigmoid<Real> s = sigmoid_and_softplus(x, e);
  const Real cross_entropy = wrong_share(x, t) * absolute(x) + s.log_sum;
  const Real error = (Real(1) - t) * s.p - t * s.one_minus_p;  // p - t, exact at t = 0 and 1
  const Real u = t * s.one_minus_p + (Real(1) - t) * s.p;
  Real modulation;
  if constexpr (kGamma == Gamma::kAny) {
    modulation = std::pow(u, gamma);
  } else {
    modulation = power<kGamma>(u, Real(0), gamma);
  }
  const Real steepness = (Real(1) - Real(2) * t) * s.p * s.one_minus_p;
  const Real ratio = u == Real(0) ? Real(0) : steepness / u;
  return {modulation * cross_entropy, modulation * (gamma * ratio * cross_entropy + error)};
}

// The two above for any logit. One that is infinite on the wrong side costs infinity, and has the
// derivative of the limit, which the largest finite logit has: its sigmoid is 0 or 1 exactly.
template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_negative_anywhere(Real x, Real e, Real gamma) {
  auto loss_and_grad = focal_negative<kGamma>(x > kLargest<Real> ? kLargest<Real> : x, e, gamma);
  if (x > kLargest<Real>) loss_and_grad.loss = x;
  return loss_and_grad;
}

template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_dense_anywhere(Real x, Real e, Real t, Real gamma) {
  if (!(absolute(x) > kLargest<Real>)) return focal_dense<kGamma>(x, e, t, gamma);
  auto loss_and_grad = focal_dense<kGamma>(x > 0 ? kLargest<Real> : -kLargest<Real>, e, t, gamma);
  if (wrong_share(x, t) > 0) loss_and_grad.loss = kInfinity<Real>;
  return loss_and_grad;
}

// factor * loss; an infinite loss that does not count is 0.
template <class Real>
FCOS_HD Real weighted_loss(Real factor, Real loss) {
  return factor == 0 && loss > kLargest<Real> ? Real(0) : factor * loss;
}

}  // namespace fcos_ops::math
