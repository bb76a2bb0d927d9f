// The detections in the head outputs of a dense detector (FCOS, arXiv 1904.01355): scores,
// threshold, the best of each level, boxes, non-maximum suppression.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops {

// One level of the pyramid. The location of cell (i, j) is at
// x = (j + location_offset) * stride_x, y = (i + location_offset) * stride_y, in pixels.
struct PostprocessLevel {
  std::int64_t stride_y = 1, stride_x = 1;  // pixels between neighbouring locations
  double scale = 1.0;                       // unit of normalised distances, pixels
};

// p = sigmoid(class logit), q = sigmoid(centerness logit).
enum class ThresholdOn : std::int32_t {
  kClass = 0,  // p > score_threshold
  kScore = 1,  // score > score_threshold
};

enum class RankBy : std::int32_t {
  kClass = 0,  // candidates of a level compete by p
  kScore = 1,  // by their score
};

enum class ScoreKind : std::int32_t {
  kProduct = 0,  // p q
  kSqrt = 1,     // sqrt(p q)
};

enum class ClipTime : std::int32_t {
  kAfterNms = 0,  // the detections that are left at the end
  kBeforeNms = 1,
};

// How head outputs become detections: the fields of Python's PostprocessRule. As it is here, it is
// the preset "improved".
struct PostprocessRule {
  ThresholdOn threshold_on = ThresholdOn::kClass;
  RankBy rank_by = RankBy::kScore;
  ScoreKind score = ScoreKind::kSqrt;
  double score_threshold = 0.05;
  std::int64_t candidates_per_level = 1000;
  double iou_threshold = 0.6;
  std::int64_t max_detections = 100;     // of an image
  ClipTime clip = ClipTime::kBeforeNms;  // to the image
  bool drop_empty = true;                // drop boxes without width or height right after clipping
  bool class_agnostic = false;           // boxes suppress those of other classes, too
  // The most detections of a class of an image, counted among the boxes that NMS keeps and before
  // the cut to max_detections.
  std::int64_t max_detections_per_class = INT64_MAX;
};

// Every class of every location is a candidate of the score that the rule makes of p and q. Those
// above the threshold are ranked, and the best candidates_per_level of each level are selected
// (equals by location * num_classes + class, the lower first); these are suppressed as in
// fcos_ops/nms.h, class by class unless class_agnostic. NaN scores and boxes are never detections.
// Scores are made of correctly rounded operations, so that all devices agree.
struct PostprocessArgs {
  // Head outputs, [num_levels] each, with num_classes, 4 and 1 channels. ltrb are distances in
  // pixels, or in units of scale if normalized. A level's three views have the same size.
  const LevelView* class_logits = nullptr;
  const LevelView* ltrb = nullptr;
  const LevelView* centerness = nullptr;     // logits
  DType class_dtype = DType::kFloat32;       // any floating ones, but
  DType ltrb_dtype = DType::kFloat32;        // kFloat64 only if all three are: maths and results
  DType centerness_dtype = DType::kFloat32;  // are then float64, else float32
  const PostprocessLevel* levels = nullptr;  // [num_levels], in memory of the host
  std::int32_t num_levels = 0;
  std::int64_t batch = 0;
  std::int64_t num_classes = 0;  // at most kMaxClasses

  // Heights and widths, contiguous [batch, 2]: boxes are clipped to image_sizes. original_sizes, if
  // not null, are those of the images before they were resized to image_sizes: the boxes that leave
  // are then in pixels of the original, clipped to it; 0 where image_sizes is 0.
  const void* image_sizes = nullptr;
  const void* original_sizes = nullptr;
  DType image_size_dtype = DType::kInt64;  // of both; or kInt32

  // Optional, contiguous [num_classes]: a class of 0 is no candidate anywhere.
  const std::uint8_t* classes = nullptr;

  bool normalized = true;
  double location_offset = 0.5;  // in cells

  PostprocessRule rule;

  // The outputs, contiguous, by falling score (equals by level, then rank within it); behind
  // `count` detections zeros, and -1 in labels.
  void* boxes = nullptr;           // [batch, max_detections, 4], x1, y1, x2, y2 in pixels
  void* scores = nullptr;          // [batch, max_detections]
  std::int64_t* labels = nullptr;  // [batch, max_detections]
  std::int64_t* count = nullptr;   // [batch]
};

// Depends on the sizes of class_logits, its dtype, batch, num_classes, the rule's
// candidates_per_level and max_detections, and on the context.
[[gnu::visibility("default")]] std::size_t postprocess_workspace_size(const PostprocessArgs& args,
                                                                      const Context& context);

[[gnu::visibility("default")]] Status postprocess(const PostprocessArgs& args, Workspace workspace,
                                                  const Context& context);

}  // namespace fcos_ops
