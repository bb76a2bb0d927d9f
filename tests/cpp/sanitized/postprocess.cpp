#include "fcos_ops/postprocess.h"

#include <cmath>

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::PostprocessArgs& args) {
  const std::int32_t count = args.num_levels;
  breaks.num_levels(args.num_levels);
  breaks.views("class_logits", args.class_logits, count, args.batch * args.num_classes);
  breaks.views("ltrb", args.ltrb, count, args.batch * 4);
  breaks.views("centerness", args.centerness, count, args.batch);
  breaks.same_size("ltrb", args.ltrb, count);
  breaks.same_size("centerness", args.centerness, count);
  breaks.pointer("levels", args.levels, count > 0);
  breaks.size("batch", args.batch);
  breaks.size("num_classes", args.num_classes);
  breaks.floating("class_dtype", args.class_dtype);
  breaks.floating("ltrb_dtype", args.ltrb_dtype);
  breaks.floating("centerness_dtype", args.centerness_dtype);
  breaks.integral("image_size_dtype", args.image_size_dtype);
  breaks.enumerator("threshold_on", args.rule.threshold_on);
  breaks.enumerator("rank_by", args.rule.rank_by);
  breaks.enumerator("score", args.rule.score);
  breaks.enumerator("clip", args.rule.clip);
  breaks.field<double>("iou_threshold", args.rule.iou_threshold,
                       {-1.0, 1.5, NAN, -INFINITY, INFINITY});
  breaks.limit("candidates_per_level", args.rule.candidates_per_level);
  breaks.limit("max_detections", args.rule.max_detections);
  breaks.limit("max_detections_per_class", args.rule.max_detections_per_class);
  breaks.pointer("image_sizes", args.image_sizes, args.batch > 0);
  const bool filled = args.batch * args.rule.max_detections > 0;
  breaks.pointer("boxes", args.boxes, filled);
  breaks.pointer("scores", args.scores, filled);
  breaks.pointer("labels", args.labels, filled);
  breaks.pointer("count", args.count, args.batch > 0);
  if (args.batch > 0) breaks.size("max_detections", args.rule.max_detections);
  breaks.integers("image_sizes", args.image_sizes, args.image_size_dtype, 2 * args.batch, false);
  breaks.integers("original_sizes", args.original_sizes, args.image_size_dtype, 2 * args.batch,
                  false);
}

void postprocess(Random& random) {
  const std::int64_t batch = random.integer(0, 2), classes = random.integer(0, 90);
  const std::int64_t num_levels = random.integer(0, 4);
  const std::vector<DType> dtypes = floating_together(random, 3);
  const Style style(random);
  Maps class_logits, ltrb, centerness;
  std::vector<fcos_ops::PostprocessLevel> levels;
  for (std::int64_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = random.integer(0, 25), width = random.integer(0, 60);
    const auto add = [&](Maps& head, std::int64_t channels, DType dtype, float low, float high) {
      head.add(Map(random, style, dtype, batch, channels, height, width)).fill(random, low, high);
    };
    add(class_logits, classes, dtypes[0], -5, 5);
    add(ltrb, 4, dtypes[1], -1, 6);
    add(centerness, 1, dtypes[2], -3, 3);
    levels.push_back({8 << i, 8 << i, 8.0 * static_cast<double>(1 << i)});
  }
  const DType size_dtype = integer(random);
  Array sizes = integers(random, size_dtype, 2 * batch, 0, 500);
  Array original_sizes = integers(random, size_dtype, 2 * batch, 0, 500);
  std::vector<std::uint8_t> is_wanted(classes);
  for (auto& wanted : is_wanted) wanted = random.chance(0.7);
  const std::int64_t limit = random.integer(0, 150);
  const DType maths = maths_of(dtypes[0]);
  Array corners(random, maths, batch * limit * 4), scores(random, maths, batch * limit);
  std::vector<std::int64_t> labels(batch * limit), count(batch);

  fcos_ops::PostprocessArgs args;
  args.class_logits = class_logits.views.data();
  args.ltrb = ltrb.views.data();
  args.centerness = centerness.views.data();
  args.class_dtype = dtypes[0];
  args.ltrb_dtype = dtypes[1];
  args.centerness_dtype = dtypes[2];
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(num_levels);
  args.batch = batch;
  args.num_classes = classes;
  args.image_sizes = sizes.data();
  if (random.chance(0.5)) args.original_sizes = original_sizes.data();
  args.image_size_dtype = size_dtype;
  if (random.chance(0.3)) args.classes = is_wanted.data();
  args.normalized = random.chance(0.5);
  args.location_offset = random.nasty(-1, 1);
  args.rule.threshold_on = static_cast<fcos_ops::ThresholdOn>(random.integer(0, 1));
  args.rule.rank_by = static_cast<fcos_ops::RankBy>(random.integer(0, 1));
  args.rule.score = static_cast<fcos_ops::ScoreKind>(random.integer(0, 1));
  args.rule.score_threshold = random.nasty(-0.5, 1);
  args.rule.candidates_per_level = random.chance(0.3) ? INT64_MAX : random.integer(0, 2000);
  args.rule.iou_threshold = random.real(0, 1);
  args.rule.class_agnostic = random.chance(0.3);
  args.rule.max_detections = limit;
  if (random.chance(0.3)) args.rule.max_detections_per_class = random.integer(0, 200);
  args.rule.clip = static_cast<fcos_ops::ClipTime>(random.integer(0, 1));
  args.rule.drop_empty = random.chance(0.5);
  args.boxes = corners.data();
  args.scores = scores.data();
  args.labels = labels.data();
  args.count = count.data();
  call(random, args, fcos_ops::postprocess_workspace_size, fcos_ops::postprocess);
}

}  // namespace fuzz
