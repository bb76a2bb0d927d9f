// Group normalization (Wu and He, arXiv 1803.08494) of the maps of a pyramid, which share weight
// and bias, and optionally a ReLU behind it: all levels in one call. And its gradient.
//
// A group is channels / groups neighbouring channels of one image of one level:
//   y = (x - mean) / sqrt(variance + eps) * weight + bias,
// with mean and (biased) variance over the locations and channels of the group. A group that holds
// a NaN or an infinity becomes NaN.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

enum class Activation : std::int32_t {
  kNone = 0,
  kRelu = 1,  // max(y, 0); NaN stays NaN
};

// The maths is float64 for kFloat64, else float32; statistics are kept as float64.
struct GroupNormArgs {
  const LevelView* maps = nullptr;  // [num_levels], `channels` channels, in any layout
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  std::int64_t channels = 0;      // at most kMaxClasses
  std::int64_t groups = 1;        // at least 1; divides `channels`
  DType dtype = DType::kFloat32;  // any floating one

  // Contiguous [channels], in the dtype of the maths.
  const void* weight = nullptr;
  const void* bias = nullptr;
  double eps = 1e-5;  // in [0, 3e38]
  Activation activation = Activation::kNone;

  const MutableLevelView* normalized = nullptr;  // [num_levels], of the sizes and dtype of the maps
  // Contiguous [num_levels, batch, groups, 2], kFloat64: mean and 1 / sqrt(variance + eps) of each
  // group, for the gradient. Those of a group without elements are 0.
  double* statistics = nullptr;
};

[[gnu::visibility("default")]] std::size_t group_norm_workspace_size(const GroupNormArgs& args,
                                                                     const Context& context);

[[gnu::visibility("default")]] Status group_norm(const GroupNormArgs& args, Workspace workspace,
                                                 const Context& context);

// The gradient, from the maps and their statistics alone: where a ReLU cut off is computed again.
struct GroupNormBackwardArgs {
  // As they were given to group_norm.
  const LevelView* maps = nullptr;
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  std::int64_t channels = 0;
  std::int64_t groups = 1;
  DType dtype = DType::kFloat32;
  const void* weight = nullptr;
  const void* bias = nullptr;
  Activation activation = Activation::kNone;
  const double* statistics = nullptr;  // as group_norm wrote them

  // The derivative by `normalized`: [num_levels], of the sizes and dtype of the maps.
  const LevelView* grad_normalized = nullptr;

  // Each output is optional.
  const MutableLevelView* grad_maps = nullptr;  // [num_levels], of the sizes and dtype of the maps
  void* grad_weight = nullptr;                  // contiguous [channels], in the dtype of the maths
  void* grad_bias = nullptr;
};

[[gnu::visibility("default")]] std::size_t group_norm_backward_workspace_size(
    const GroupNormBackwardArgs& args, const Context& context);

[[gnu::visibility("default")]] Status group_norm_backward(const GroupNormBackwardArgs& args,
                                                          Workspace workspace,
                                                          const Context& context);

}  // namespace fcos_ops
