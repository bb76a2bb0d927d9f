#include "fcos_ops/postprocess.h"

#include "arrays.h"

namespace fuzz {
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
  args.normalized = random.chance(0.5);
  args.location_offset = random.nasty(-1, 1);
  args.threshold_on_score = random.chance(0.5);
  args.rank_by_score = random.chance(0.5);
  args.square_root = random.chance(0.5);
  args.score_threshold = random.nasty(-0.5, 1);
  args.candidates_per_level = random.chance(0.3) ? INT64_MAX : random.integer(0, 2000);
  args.iou_threshold = random.real(0, 1);
  args.class_agnostic = random.chance(0.3);
  args.max_detections = limit;
  if (random.chance(0.3)) args.max_detections_per_class = random.integer(0, 200);
  args.clip_before_nms = random.chance(0.5);
  args.drop_empty = random.chance(0.5);
  args.boxes = corners.data();
  args.scores = scores.data();
  args.labels = labels.data();
  args.count = count.data();
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::postprocess_workspace_size(args, context));
  require(fcos_ops::postprocess(args, scratch.workspace(), context));
}

}  // namespace fuzz
