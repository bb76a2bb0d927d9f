#include "fcos_ops/postprocess.h"

#include <array>

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

PostprocessRule read_rule(Arguments& in) {
  PostprocessRule rule;
  rule.threshold_on = in.word<ThresholdOn>("threshold_on", kThresholdOn);
  rule.rank_by = in.word<RankBy>("rank_by", kRankBy);
  rule.score = in.word<ScoreKind>("score", kScores);
  rule.score_threshold = in.number("score_threshold");
  rule.candidates_per_level = in.integer("candidates_per_level");
  rule.iou_threshold = in.number("iou_threshold");
  rule.max_detections = in.integer("max_detections");
  rule.clip = in.word<ClipTime>("clip", kClips);
  rule.drop_empty = in.boolean("drop_empty");
  rule.class_agnostic = in.boolean("class_agnostic");
  rule.max_detections_per_class = in.optional_integer("max_detections_per_class", INT64_MAX);
  return rule;
}

}  // namespace

std::size_t bound_postprocess(Arguments& in) {
  PostprocessArgs args;
  HeadLevels heads(in);
  std::array<PostprocessLevel, kMaxLevels> levels;
  set_heads(heads, args);
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = heads.levels[i];
    levels[i] = {level.stride_y, level.stride_x, level.scale};
  }
  args.levels = levels.data();
  const Tensor image_sizes = in.tensor("image_sizes");
  const Tensor original_sizes = in.optional_tensor("original_sizes");
  image_sizes.expect_dtype(kIntegers);
  image_sizes.expect_shape({args.batch, 2});
  original_sizes.expect_dtype(only(image_sizes.dtype()));
  original_sizes.expect_shape({args.batch, 2});
  args.image_sizes = image_sizes.data();
  args.original_sizes = original_sizes.data();
  args.image_size_dtype = image_sizes.dtype();
  args.classes = in.optional_values<std::uint8_t>("classes", DType::kUInt8, args.num_classes);
  args.normalized = in.boolean("normalized");
  args.location_offset = in.number("location_offset");
  args.rule = read_rule(in);

  const DType maths = maths_of(args.class_dtype);
  const Tensor boxes = in.tensor("boxes");
  boxes.expect_dtype(only(maths));
  boxes.expect_shape({args.batch, args.rule.max_detections, 4});
  args.boxes = boxes.data();
  args.scores = in.values("scores", maths, boxes.count() / 4);
  args.labels = in.values<std::int64_t>("labels", DType::kInt64, boxes.count() / 4);
  args.count = in.values<std::int64_t>("count", DType::kInt64, args.batch);
  return run(in, args, postprocess_workspace_size, postprocess);
}

}  // namespace fcos_ops::bindings
