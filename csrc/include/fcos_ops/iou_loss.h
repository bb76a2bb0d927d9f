// IoU losses of box pairs, value and gradient in one pass: IoU (Yu et al., "UnitBox", 2016), GIoU
// (Rezatofighi et al., 2019), DIoU and CIoU (Zheng et al., "Distance-IoU Loss", 2020).
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// Coordinates are clamped to [-2^33, 2^33]; the sides of inverted boxes count as 0.
// With I, U the areas of intersection and union, C the area and D the diagonal of the smallest box
// around both, d the distance of the centres, iou = I / (U + eps):
enum class IouKind : std::int32_t {
  kIou = 0,        // -log(max(iou, eps))
  kLinearIou = 1,  // 1 - iou
  kGiou = 2,       // 1 - iou + (C - U) / (C + eps)
  kDiou = 3,       // 1 - iou + d^2 / (D^2 + eps)
  kCiou = 4,       // that + alpha v; v = (2 / pi * difference of atan(w / h))^2,
                   // alpha = v / (1 - iou + v + eps), a constant for the gradient
};

enum class BoxFormat : std::int32_t {
  kXyxy = 0,  // x1, y1, x2, y2
  kLtrb = 1,  // distances from a common location to the left, top, right and bottom side
};

// "Rows" are locations: the rows of level 0 of batch entry 0 come first, then its level 1, ...
// The maths is float64 if pred or target is, else float32.
struct IouLossArgs {
  const LevelView* pred = nullptr;    // [num_levels], 4 channels
  const LevelView* target = nullptr;  // [num_levels], of the heights and widths of pred
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  DType pred_dtype = DType::kFloat32;    // any floating one
  DType target_dtype = DType::kFloat32;  // any floating one

  IouKind kind = IouKind::kGiou;
  BoxFormat box_format = BoxFormat::kXyxy;
  double eps = 1e-7;  // >= the smallest normal float32; all is finite from 1e-7 on

  const void* weight = nullptr;  // optional, contiguous [batch, rows], in the dtype of the maths
  Normalizer normalizer;         // divides the loss and the gradient
  double scale = 1.0;            // multiplies the loss and the gradient

  // Optional: one number in the dtype of the maths, multiplies the gradient (not the loss).
  const void* gradient_scale = nullptr;

  // Each output is optional; all but `gradient` are in the dtype of the maths. The losses are
  // symmetric: for the gradient by target, call again with pred and target exchanged.
  void* loss_sum = nullptr;                    // one number
  void* losses = nullptr;                      // contiguous [batch, rows]
  const MutableLevelView* gradient = nullptr;  // [num_levels], by pred, of its shape
  DType gradient_dtype = DType::kFloat32;      // `pred_dtype`, or the dtype of the maths
};

[[gnu::visibility("default")]] std::size_t iou_loss_workspace_size(const IouLossArgs& args,
                                                                   const Context& context);

[[gnu::visibility("default")]] Status iou_loss(const IouLossArgs& args, Workspace workspace,
                                               const Context& context);

}  // namespace fcos_ops
