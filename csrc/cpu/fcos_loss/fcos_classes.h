// The focal loss of the class logits of one run of locations, for the whole FCOS loss.
#pragma once

#include "cpu/common/levels.h"

namespace fcos_ops::cpu::fcos {

inline constexpr std::int64_t kFcosRun = 512;  // locations of a run, at most

struct ClassRun {
  LocationRun run;
  LevelView logits;
  MutableLevelView gradient;   // data is null where nobody asked for it
  const std::int32_t* labels;  // [run.length]: as math::checked_label gives them
  std::int64_t num_classes;
  double scale;           // multiplies losses and gradients
  double gradient_scale;  // multiplies gradients alone
  double alpha, gamma;
};

// The sum of the losses; writes the gradient.
double class_loss(DType dtype, const ClassRun& run);

}  // namespace fcos_ops::cpu::fcos
