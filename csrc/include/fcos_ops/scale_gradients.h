// The backward pass of a loss whose gradients its forward pass has stored: they meet the derivative
// by the loss, in place.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// A gradient, multiplied in place by *scale. Only where that is exactly 1 it is left alone; a NaN
// multiplies.
struct ScaledGradient {
  MutableLevelView view;
  std::int64_t batch = 0, channels = 0;
  DType dtype = DType::kFloat32;  // any floating one; all gradients of a call or none kFloat64
  const void* scale = nullptr;    // one number in the dtype of the maths, of the device
};

inline constexpr std::int32_t kMaxScaledGradients = 3 * kMaxLevels;  // of three heads

struct ScaleGradientsArgs {
  const ScaledGradient* gradients = nullptr;  // [count], in memory of the host
  std::int32_t count = 0;                     // at most kMaxScaledGradients
};

// Quickest where gradients of one scale are neighbours.
[[gnu::visibility("default")]] Status scale_gradients(const ScaleGradientsArgs& args,
                                                      const Context& context);

}  // namespace fcos_ops
