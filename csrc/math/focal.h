// Sigmoid focal loss of one logit, with its derivative, from one exp, one log1p and one division.
#pragma once

#include "math/elementary.h"

namespace fcos_ops::math {

// Values of gamma with a loop of their own; kAny takes the exponent at run time.
enum class Gamma { kZero, kOne, kTwo, kAny };

template <class Real>
struct LossAndGradient {
  Real loss, gradient;
};

template <class Real>
FCOS_HD Real exp_minus_absolute(Real x) {
  return exp_in_loss(-absolute(x));
}

// Of one logit x: sigmoid(x), sigmoid(-x), softplus(x) = -log(sigmoid(-x)), softplus(-x) =
// -log(sigmoid(x)); each is accurate in relative terms, and what is not used costs nothing.
template <class Real>
struct Sigmoid {
  Real p, one_minus_p, softplus, softplus_minus;
};

// From x and e = exp(-|x|).
template <class Real>
FCOS_HD Sigmoid<Real> sigmoid_and_softplus(Real x, Real e) {
  const Real larger = reciprocal_in_loss(Real(1) + e);
  const Real smaller = e * larger;
  const Real log_sum = log1p_in_loss(e);
  const Real positive_part = select_by_sign(x, Real(0), x), negative_part = positive_part - x;
  return {select_by_sign(x, smaller, larger), select_by_sign(x, larger, smaller),
          positive_part + log_sum, negative_part + log_sum};
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
// p^gamma (gamma (1 - p) softplus(x) + p). A positive logit x is a negative one at -x.
template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_negative(Real x, Real e, Real gamma) {
  const Sigmoid<Real> s = sigmoid_and_softplus(x, e);
  const Real modulation = power<kGamma>(s.p, s.softplus_minus, gamma);
  Real slope = s.p;
  if constexpr (kGamma == Gamma::kOne) slope += s.one_minus_p * s.softplus;
  if constexpr (kGamma == Gamma::kTwo) {
    slope = multiply_add_in_loss(Real(2) * s.one_minus_p, s.softplus, slope);
  }
  if constexpr (kGamma == Gamma::kAny) slope += gamma * s.one_minus_p * s.softplus;
  return {modulation * s.softplus, modulation * slope};
}

// Loss and derivative for a target t in [0, 1], without alpha. With u = 1 - p_t:
// u^gamma BCE and u^gamma (gamma (du/dx / u) BCE + p - t).
template <Gamma kGamma, class Real>
FCOS_HD LossAndGradient<Real> focal_dense(Real x, Real e, Real t, Real gamma) {
  const Sigmoid<Real> s = sigmoid_and_softplus(x, e);
  const Real cross_entropy = (Real(1) - t) * s.softplus + t * s.softplus_minus;
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

}  // namespace fcos_ops::math
