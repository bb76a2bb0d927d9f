// Focal loss of the class logits of one run of locations, for sigmoid focal loss and the whole FCOS
// loss alike. For Real float and double.
#pragma once

#include "cpu/common/levels.h"
#include "cpu/focal_loss/focal_loops.h"
#include "math/focal.h"

namespace fcos_ops::cpu::focal {

inline constexpr std::int64_t kClassRun = 512;  // locations of a run, at most

// What is read and written. The data of an output is null where nobody asked for it.
struct ClassRun {
  LocationRun run;
  std::int64_t num_classes;
  LevelView logits;
  DType dtype;
  MutableLevelView losses;  // in the dtype of the maths
  MutableLevelView gradient;
  DType gradient_dtype;  // `dtype`, or the dtype of the maths
};

// The factors of losses that are multiplied by `scale`, and of gradients by `gradient_scale`, too.
template <class Real>
FocalFactors<Real> focal_factors(double scale, double alpha, double gamma, Real gradient_scale) {
  const math::AlphaWeights weights = math::alpha_weights(alpha);
  return {static_cast<Real>(scale * weights.positive), static_cast<Real>(scale * weights.negative),
          static_cast<Real>(gamma), gradient_scale};
}

// The sum of the losses; writes losses and gradient. Labels are as math::checked_label gives them;
// weights may be null: each of a location of the run.
template <class Real>
double class_loss(const ClassRun& run, const FocalFactors<Real>& factors,
                  const std::int32_t* labels, const Real* weights);

// The same of dense targets, of the logits' shape and in the dtype of the maths.
template <class Real>
double dense_class_loss(const ClassRun& run, const FocalFactors<Real>& factors,
                        const LevelView& targets, const Real* weights);

}  // namespace fcos_ops::cpu::focal
