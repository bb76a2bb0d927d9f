// The loops of sigmoid focal loss over a chunk of neighbouring logits.
#pragma once

#include <cstdint>

namespace fcos_ops::cpu::focal {

// The factors of the loss of a positive and of a negative entry, and that of the gradient alone.
template <class Real>
struct FocalFactors {
  Real positive, negative, gamma, gradient;
};

// Each loop writes the gradient and, unless `losses` is null, the losses, and returns their sum.
// For Real float and double.
template <class Real>
struct FocalLoops {
  using Factors = FocalFactors<Real>;

  // Negative logits of equal weight: background rows, or what lies along x and has no positive.
  static double negatives(const Factors& factors, const Real* logits, std::int32_t count,
                          Real* losses, Real* gradient);

  // A row whose entry `positive` is the labelled class.
  static double row(const Factors& factors, const Real* logits, std::int32_t count,
                    std::int32_t positive, Real* losses, Real* gradient);

  // One class, `channel`, of many locations.
  static double column(const Factors& factors, const Real* logits, std::int32_t count,
                       const std::int32_t* labels, const Real* weights, std::int32_t channel,
                       Real* losses, Real* gradient);

  // Any logits, each with a target and a weight.
  static double dense(const Factors& factors, const Real* logits, std::int32_t count,
                      const Real* targets, const Real* weights, Real* losses, Real* gradient);
};

}  // namespace fcos_ops::cpu::focal
