// Post-processing: checks, then the driver of the device.
#include "fcos_ops/postprocess.h"

#include <algorithm>

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const PostprocessArgs& args) {
  const std::int64_t channels = std::max<std::int64_t>(args.num_classes, 4);
  // Any limit will do for no images.
  const bool has_room = args.batch <= 0 || are_sizes({args.batch, args.rule.max_detections, 4});
  const Status status = require({
      {is_level_count(args.num_levels), "postprocess: num_levels must be in [0, kMaxLevels]"},
      {is_class_count(args.num_classes), "postprocess: num_classes must be in [0, kMaxClasses]"},
      {are_levels(args.class_logits, args.num_levels, args.batch, channels),
       "postprocess: class_logits must be given; batch and sizes must be >= 0, at most "
       "kMaxElements in all"},
      {is_floating(args.class_dtype), "postprocess: class_dtype must be floating"},
      {args.rule.max_detections >= 0 && has_room,
       "postprocess: max_detections must be >= 0, of all images at most kMaxElements"},
      {args.rule.candidates_per_level >= 0, "postprocess: candidates_per_level must be >= 0"},
  });
  if (!status.ok()) return status;
  std::int64_t winners = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const LevelView& view = args.class_logits[i];
    winners +=
        std::min(args.rule.candidates_per_level, view.height * view.width * args.num_classes);
  }
  return require({
      {winners >> 31 == 0,
       "postprocess: an image must have fewer than 2^31 candidates in all levels"},
  });
}

bool are_enumerators(const PostprocessRule& rule) {
  return is_enumerator(rule.threshold_on, ThresholdOn::kScore) &&
         is_enumerator(rule.rank_by, RankBy::kScore) &&
         is_enumerator(rule.score, ScoreKind::kSqrt) &&
         is_enumerator(rule.clip, ClipTime::kBeforeNms);
}

Status check_data(const PostprocessArgs& args) {
  const bool has_outputs =
      args.count && (args.rule.max_detections == 0 || (args.boxes && args.scores && args.labels));
  return require({
      {are_heads(args), "postprocess: the head outputs of a level must have data and one size"},
      {are_head_dtypes({args.class_dtype, args.ltrb_dtype, args.centerness_dtype}),
       "postprocess: head outputs must be floating, and all or none kFloat64"},
      {args.num_levels == 0 || args.levels, "postprocess: levels must be given"},
      {args.batch == 0 || args.image_sizes, "postprocess: image_sizes must be given"},
      {is_integer(args.image_size_dtype), "postprocess: image_size_dtype must be kInt32 or kInt64"},
      {are_enumerators(args.rule),
       "postprocess: threshold_on, rank_by, score and clip must be enumerators of their types"},
      {is_iou_threshold(args.rule.iou_threshold), "postprocess: iou_threshold must be in [0, 1]"},
      {args.rule.max_detections_per_class >= 0,
       "postprocess: max_detections_per_class must be >= 0"},
      {args.batch == 0 || has_outputs,
       "postprocess: boxes, scores, labels and count must be given"},
  });
}

constexpr Op<PostprocessArgs> kOp = {"postprocess: workspace must be as its query says",
                                     "postprocess: this library was built without CUDA",
                                     {check_sizes, check_data}};

}  // namespace

std::size_t postprocess_workspace_size(const PostprocessArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status postprocess(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
