#include "fcos_ops/postprocess.h"

#include <array>

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {

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
  args.normalized = in.boolean("normalized");
  args.location_offset = in.number("location_offset");
  args.threshold_on_score = in.word("threshold_on", kThresholdOn) == 1;
  args.rank_by_score = in.word("rank_by", kRankBy) == 1;
  args.square_root = in.word("score", kScores) == 1;
  args.score_threshold = in.number("score_threshold");
  args.candidates_per_level = in.integer("candidates_per_level");
  args.iou_threshold = in.number("iou_threshold");
  args.max_detections = in.integer("max_detections");
  args.clip_before_nms = in.word("clip", kClips) == 1;
  args.drop_empty = in.boolean("drop_empty");
  args.class_agnostic = in.boolean("class_agnostic");
  args.max_detections_per_class = in.optional_integer("max_detections_per_class", INT64_MAX);

  const DType maths = maths_of(args.class_dtype);
  const Tensor boxes = in.tensor("boxes");
  boxes.expect_dtype(only(maths));
  boxes.expect_shape({args.batch, args.max_detections, 4});
  args.boxes = boxes.data();
  args.scores = in.values("scores", maths, boxes.count() / 4);
  args.labels = in.values<std::int64_t>("labels", DType::kInt64, boxes.count() / 4);
  args.count = in.values<std::int64_t>("count", DType::kInt64, args.batch);
  return run(in, args, postprocess_workspace_size, postprocess);
}

}  // namespace fcos_ops::bindings
