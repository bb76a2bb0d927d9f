// Target assignment: which ground-truth box each location of a feature pyramid should predict
// (FCOS, arXiv 1904.01355 and 2006.09214).
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// One level of the pyramid. The location of cell (i, j) is at
// x = (j + location_offset) * stride_x, y = (i + location_offset) * stride_y, in pixels.
struct AssignmentLevel {
  std::int64_t height = 0, width = 0;       // cells, at most 2^31 - 2 each
  std::int64_t stride_y = 1, stride_x = 1;  // pixels between neighbouring locations, > 0
  double scale = 1.0;                       // unit of the centre radius and of normalised distances
  double lower = 0.0, upper = 0.0;  // size of interest: the range of max(l, t, r, b), pixels
};

enum class CenterRegion : std::int32_t {
  kClipped = 0,    // the centre square clipped to the box
  kChebyshev = 1,  // max(|x - cx|, |y - cy|) < radius, and inside the box
};

enum class AreaRule : std::int32_t {
  kExact = 0,              // the smallest area wins, then the lowest index
  kFloat32Complement = 1,  // the largest float32(1e8) - float32(area), which must be >= 1e-5, wins
};

// How locations are matched: the fields of Python's AssignmentRule, but for those that make levels.
// As it is here, it is the preset "improved".
struct AssignmentRule {
  double location_offset = 0.5;  // in cells
  double center_radius = 1.5;  // half side of the centre square in units of scale; <= 0: whole box
  CenterRegion center_region = CenterRegion::kClipped;
  bool range_inclusive = true;  // lower <= max(l, t, r, b) <= upper, else both strict
  AreaRule area_rule = AreaRule::kExact;
  double max_area = 1e8;       // a box of this area or more never matches, square pixels
  bool normalize_ltrb = true;  // distances in units of scale, else pixels
};

struct AssignTargetsArgs {
  const AssignmentLevel* levels = nullptr;  // [num_levels], in memory of the host
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;  // images

  // Image b owns the boxes [offsets[b], offsets[b + 1]); offsets are clamped to [0, num_boxes].
  const void* boxes = nullptr;  // contiguous [num_boxes, 4], xyxy in pixels
  std::int64_t num_boxes = 0;
  DType box_dtype = DType::kFloat32;   // any floating one; maths and results are float64 for
                                       // float64 boxes, else float32
  const void* labels = nullptr;        // [num_boxes]
  DType label_dtype = DType::kInt64;   // or kInt32
  const void* offsets = nullptr;       // [batch + 1]
  DType offset_dtype = DType::kInt64;  // or kInt32

  AssignmentRule rule;

  // The outputs, contiguous; N = sum of height * width, level-major then row-major. Exactly one of
  // `matched` and `matched_int32` must be given (the latter for num_boxes < 2^31), all others are
  // optional.
  std::int64_t* location_labels = nullptr;  // [batch, N], -1 on background
  void* ltrb = nullptr;                     // [batch, N, 4], 0 on background
  void* centerness = nullptr;               // [batch, N], 0 on background
  std::int64_t* matched = nullptr;          // [batch, N], flat index into boxes, -1 on background
  std::int32_t* matched_int32 = nullptr;    // the same
  std::int64_t* num_pos = nullptr;          // one number: matched locations
  void* centerness_sum = nullptr;           // one number: their centerness
  void* counts = nullptr;        // two numbers in the dtype of the maths: both of the above
  void* image_counts = nullptr;  // [batch, 2]: both of each image
};

[[gnu::visibility("default")]] std::size_t assign_targets_workspace_size(
    const AssignTargetsArgs& args, const Context& context);

[[gnu::visibility("default")]] Status assign_targets(const AssignTargetsArgs& args,
                                                     Workspace workspace, const Context& context);

}  // namespace fcos_ops
