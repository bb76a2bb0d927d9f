// The whole training loss of FCOS (arXiv 1904.01355 and 2006.09214): focal loss of the class
// logits, IoU loss of the boxes, cross entropy of the centerness, values and gradients in one pass.
//
// Two calls, so that the normalizers can be averaged over processes in between: assign_targets with
// `matched_int32` and `counts`, then fcos_loss.
#pragma once

#include "fcos_ops/assign_targets.h"
#include "fcos_ops/focal_loss.h"
#include "fcos_ops/iou_loss.h"
#include "fcos_ops/types.h"

namespace fcos_ops {

enum class BoxWeight : std::int32_t {
  kCenterness = 0,  // a positive weighs its centerness target; divided by normalizer 1
  kUniform = 1,     // it weighs 1; divided by normalizer 0
};

enum class LossNormalizer : std::int32_t {
  kPositives = 0,  // one pair of normalizers, of the whole batch
  kPerImage = 1,   // a pair for each image; losses are means over images
};

// How the three losses are weighted and normalised: the fields of Python's LossRule. As it is here,
// it is the preset "improved".
struct LossRule {
  IouKind box_loss = IouKind::kGiou;
  BoxWeight box_weight = BoxWeight::kCenterness;
  LossNormalizer normalizer = LossNormalizer::kPositives;
  double alpha = 0.25;  // of the focal loss; negative: no alpha weighting
  double gamma = 2.0;   // of the focal loss, in [0, 3e38]
  double eps = 1e-7;    // of the IoU loss
};

// The maths is float64 where the heads are kFloat64, else float32; box and centerness targets are
// computed as assign_targets does. "Rows" are the N locations of an image, level-major.
struct FcosLossArgs {
  // The outputs of the head, in any layout: of num_classes, 4 and 1 channels.
  const LevelView* class_logits = nullptr;  // [num_levels]
  const LevelView* ltrb = nullptr;          // [num_levels], pixels or units of scale
  const LevelView* centerness = nullptr;    // [num_levels], logits
  DType class_dtype = DType::kFloat32;      // any floating ones; all or none kFloat64
  DType ltrb_dtype = DType::kFloat32;
  DType centerness_dtype = DType::kFloat32;
  const AssignmentLevel* levels = nullptr;  // [num_levels]; lower and upper are not used
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  std::int64_t num_classes = 0;  // at most kMaxClasses

  // Flat index into boxes of each row, contiguous [batch, N]. Anything outside [0, num_boxes) is
  // background.
  const std::int32_t* matched = nullptr;
  const void* boxes = nullptr;  // contiguous [num_boxes, 4], xyxy in pixels
  std::int64_t num_boxes = 0;
  DType box_dtype = DType::kFloat32;  // any floating one
  // [num_boxes]: a class in [0, num_classes); -1: its rows are background; -2: its rows are ignored
  // by the focal loss. Neither has box or centerness loss. Any other makes its rows NaN.
  const void* labels = nullptr;
  DType label_dtype = DType::kInt64;  // or kInt32
  double location_offset = 0.5;       // as in AssignmentRule
  bool normalize_ltrb = true;

  LossRule loss;
  // Positives and sum of their centerness, in the dtype of the maths: two numbers; with kPerImage
  // contiguous [batch, 2]. Floors: 1 and 1e-6.
  const void* normalizers = nullptr;

  // The factors of the gradients (not of the losses): for each head optionally one number in the
  // dtype of the maths, else what is expected to be one: a number of the host, times optionally one
  // in the dtype of the maths. An expectation that is not finite or not > 0 counts as 1.
  double expected_factor = 1.0;
  const void* expected_scale = nullptr;
  const void* class_gradient_scale = nullptr;
  const void* ltrb_gradient_scale = nullptr;
  const void* centerness_gradient_scale = nullptr;
  // The gradients hold what a call without scales has written: those of heads whose scale is as was
  // expected are right already. No losses then.
  bool only_unexpected = false;

  // Each output is optional. Losses are one number each, in the dtype of the maths; gradients have
  // shape and dtype of their head, in any layout, and are written everywhere.
  void* class_loss = nullptr;
  void* ltrb_loss = nullptr;
  void* centerness_loss = nullptr;
  const MutableLevelView* class_gradient = nullptr;       // [num_levels]
  const MutableLevelView* ltrb_gradient = nullptr;        // [num_levels]
  const MutableLevelView* centerness_gradient = nullptr;  // [num_levels]
};

[[gnu::visibility("default")]] std::size_t fcos_loss_workspace_size(const FcosLossArgs& args,
                                                                    const Context& context);

[[gnu::visibility("default")]] Status fcos_loss(const FcosLossArgs& args, Workspace workspace,
                                                const Context& context);

}  // namespace fcos_ops
