// Centerness (FCOS, arXiv 1904.01355, equation 3): its target from ltrb distances, and its loss.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)); 0 where a side is <= 0, NaN where one is
// NaN.
struct CenternessTargetArgs {
  const LevelView* ltrb = nullptr;  // [num_levels], 4 channels, in any unit
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  DType dtype =
      DType::kFloat32;     // any floating one; the maths is float64 for float64, else float32
  void* target = nullptr;  // contiguous [batch, rows], in the dtype of the maths
};

[[gnu::visibility("default")]] Status centerness_target(const CenternessTargetArgs& args,
                                                        const Context& context);

// Binary cross entropy with logits, value and gradient in one pass, over the rows that count.
// "Rows" are locations: those of level 0 of batch entry 0 come first, then its level 1, ...
struct CenternessLossArgs {
  const LevelView* logits = nullptr;  // [num_levels], 1 channel
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  DType dtype =
      DType::kFloat32;  // any floating one; the maths is float64 for float64, else float32

  const void* target = nullptr;  // contiguous [batch, rows] in [0, 1], in the dtype of the maths

  // Optional, contiguous [batch, rows]: a row counts where a mask (kUInt8) is not 0, or where a
  // label (kInt32, kInt64) is >= 0. The loss and gradient of other rows are 0, whatever they hold.
  const void* selection = nullptr;
  DType selection_dtype = DType::kUInt8;

  Normalizer normalizer;  // divides the loss and the gradient
  double scale = 1.0;     // multiplies the loss and the gradient

  // Optional: one number in the dtype of the maths, multiplies the gradient (not the loss).
  const void* gradient_scale = nullptr;

  // Each output is optional; all but `gradient` are in the dtype of the maths.
  void* loss_sum = nullptr;                    // one number
  void* losses = nullptr;                      // contiguous [batch, rows]
  const MutableLevelView* gradient = nullptr;  // [num_levels], of the logits' shape
  DType gradient_dtype = DType::kFloat32;      // `dtype`, or the dtype of the maths
};

[[gnu::visibility("default")]] std::size_t centerness_loss_workspace_size(
    const CenternessLossArgs& args, const Context& context);

[[gnu::visibility("default")]] Status centerness_loss(const CenternessLossArgs& args,
                                                      Workspace workspace, const Context& context);

}  // namespace fcos_ops
