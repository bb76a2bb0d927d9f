// Greedy non-maximum suppression: of one set of boxes, of boxes in classes, of many images at once.
#pragma once

#include <limits>

#include "fcos_ops/types.h"

namespace fcos_ops {

// In each image, candidates are taken by score from high to low, equal scores by index from low to
// high (-0 equals +0). One is kept unless a kept one of its class overlaps it:
//   intersection > iou_threshold * (area_a + area_b - intersection),
// computed in float32 (float64 for float64 boxes), every operation rounded, sides clamped at 0.
// Boxes with a NaN among coordinates or score are never kept and suppress nothing.
struct NmsArgs {
  const void* boxes = nullptr;          // contiguous [num_boxes, 4] x1, y1, x2, y2
  const void* scores = nullptr;         // contiguous [num_boxes]
  DType box_dtype = DType::kFloat32;    // any floating one
  DType score_dtype = DType::kFloat32;  // any floating one
  std::int64_t num_boxes = 0;

  // Optional, contiguous [num_boxes]: only boxes of equal ids suppress each other. Any values.
  const void* classes = nullptr;
  DType class_dtype = DType::kInt64;  // or kInt32

  // Optional, contiguous [num_images + 1], never falling, within [0, num_boxes]: image b has the
  // boxes offsets[b] to offsets[b + 1] - 1, fewer than 2^31. Without it, all belong to one image.
  const void* offsets = nullptr;
  DType offset_dtype = DType::kInt64;  // or kInt32
  std::int64_t num_images = 1;

  double iou_threshold = 0.5;  // in [0, 1]
  // Only scores > score_threshold take part; NaN: all.
  double score_threshold = std::numeric_limits<double>::quiet_NaN();
  std::int64_t max_detections = 0;

  std::int64_t* keep = nullptr;   // [num_images, max_detections] indices of boxes, then -1
  std::int64_t* count = nullptr;  // [num_images]
};

[[gnu::visibility("default")]] std::size_t nms_workspace_size(const NmsArgs& args,
                                                              const Context& context);

[[gnu::visibility("default")]] Status nms(const NmsArgs& args, Workspace workspace,
                                          const Context& context);

}  // namespace fcos_ops
