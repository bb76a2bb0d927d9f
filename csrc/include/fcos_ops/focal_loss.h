// Sigmoid focal loss (Lin et al., "Focal Loss for Dense Object Detection", 2017, eq. 5), value and
// gradient in one pass over the logits.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// With p = sigmoid(x):  a positive entry costs  alpha * (1 - p)^gamma * -log(p),
//                       a negative one  (1 - alpha) * p^gamma * -log(1 - p),
// and an entry with a dense target t in [0, 1]  alpha_t * (1 - p_t)^gamma * BCE(x, t), where
// p_t = p t + (1 - p)(1 - t) and alpha_t = alpha t + (1 - alpha)(1 - t).
// "Rows" are locations: the rows of level 0 of batch entry 0 come first, then its level 1, ...
struct FocalLossArgs {
  const LevelView* logits = nullptr;  // [num_levels], elements of `dtype`
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  std::int64_t num_classes = 0;   // at most kMaxClasses
  DType dtype = DType::kFloat32;  // any floating one

  // Exactly one of the two. Labels are contiguous [batch, rows]: a class in [0, num_classes), -1
  // background, -2 ignored; anything else makes the row NaN. Dense targets have the logits' shape
  // and the dtype of the maths: float64 for float64 logits, else float32.
  const void* labels = nullptr;
  DType label_dtype = DType::kInt64;  // or kInt32
  const LevelView* targets = nullptr;

  const void* weight = nullptr;  // optional, contiguous [batch, rows], in the dtype of the maths
  Normalizer normalizer;         // divides the loss and the gradient
  double scale = 1.0;            // multiplies the loss and the gradient
  double alpha = 0.25;           // negative: no alpha weighting
  double gamma = 2.0;            // in [0, 3e38]

  // Optional: one number in the dtype of the maths, multiplies the gradient (not the loss).
  const void* gradient_scale = nullptr;

  // Each output is optional; all but `gradient` are in the dtype of the maths.
  void* loss_sum = nullptr;                    // one number
  const MutableLevelView* losses = nullptr;    // [num_levels], of the logits' shape
  const MutableLevelView* gradient = nullptr;  // [num_levels], of the logits' shape
  DType gradient_dtype = DType::kFloat32;      // `dtype`, or the dtype of the maths
};

[[gnu::visibility("default")]] std::size_t sigmoid_focal_loss_workspace_size(
    const FocalLossArgs& args, const Context& context);

[[gnu::visibility("default")]] Status sigmoid_focal_loss(const FocalLossArgs& args,
                                                         Workspace workspace,
                                                         const Context& context);

}  // namespace fcos_ops
