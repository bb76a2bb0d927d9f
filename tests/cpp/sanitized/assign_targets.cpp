#include "fcos_ops/assign_targets.h"

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::AssignTargetsArgs& args) {
  breaks.num_levels(args.num_levels);
  breaks.levels(args.levels, args.num_levels);
  breaks.size("batch", args.batch);
  breaks.size("num_boxes", args.num_boxes);
  breaks.floating("box_dtype", args.box_dtype);
  breaks.integral("label_dtype", args.label_dtype);
  breaks.integral("offset_dtype", args.offset_dtype);
  breaks.enumerator("center_region", args.rule.center_region);
  breaks.enumerator("area_rule", args.rule.area_rule);
  breaks.pointer("boxes", args.boxes, args.num_boxes > 0);
  breaks.pointer("labels", args.labels, args.num_boxes > 0);
  breaks.pointer("offsets", args.offsets, args.batch > 0);
  const bool filled = args.batch > 0 && std::any_of(args.levels, args.levels + args.num_levels,
                                                    [](const fcos_ops::AssignmentLevel& level) {
                                                      return level.height * level.width > 0;
                                                    });
  breaks.pointer("matched", args.matched, filled && args.matched);
  breaks.pointer("matched_int32", args.matched_int32, filled && args.matched_int32);
  breaks.integers("offsets", args.offsets, args.offset_dtype, args.batch + 1, false);
  breaks.integers("labels", args.labels, args.label_dtype, args.num_boxes, false);
}

void assign_targets(Random& random) {
  const std::int64_t images = random.integer(0, 3);
  const std::int64_t count = images == 0 ? 0 : random.integer(0, 150);
  Array corners = boxes(random, floating(random), count, 300);
  Array starts = offsets(random, integer(random), images, count);
  Array labels = integers(random, integer(random), count, -4, 90);
  std::vector<fcos_ops::AssignmentLevel> levels(random.integer(0, 4));
  std::int64_t locations = 0;
  for (auto& level : levels) {
    level.height = random.integer(0, 40);
    level.width = random.integer(0, random.chance(0.1) ? 6000 : 40);
    level.stride_y = random.integer(1, random.chance(0.1) ? INT64_MAX : 40);
    level.stride_x = random.integer(1, random.chance(0.1) ? INT64_MAX : 40);
    level.scale = random.nasty(1, 40);
    level.lower = random.nasty(-1, 60);
    level.upper = random.nasty(20, 200);
    locations += level.height * level.width;
  }
  const DType maths = maths_of(corners.dtype());
  std::vector<std::int64_t> location_labels(images * locations), matched(images * locations);
  std::vector<std::int32_t> matched_int32(images * locations);
  Array ltrb(random, maths, images * locations * 4), centerness(random, maths, images * locations);
  std::int64_t num_pos = 0;
  Array centerness_sum(random, maths, 1), counts(random, maths, 2);
  Array image_counts(random, maths, 2 * images);

  fcos_ops::AssignTargetsArgs args;
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = images;
  args.boxes = corners.data();
  args.num_boxes = count;
  args.box_dtype = corners.dtype();
  args.labels = labels.data();
  args.label_dtype = labels.dtype();
  args.offsets = starts.data();
  args.offset_dtype = starts.dtype();
  args.rule.location_offset = random.nasty(-1, 1);
  args.rule.center_radius = random.nasty(-1, 3);
  args.rule.center_region = static_cast<fcos_ops::CenterRegion>(random.integer(0, 1));
  args.rule.range_inclusive = random.chance(0.5);
  args.rule.area_rule = static_cast<fcos_ops::AreaRule>(random.integer(0, 1));
  args.rule.max_area = random.nasty(100, 10000);
  args.rule.normalize_ltrb = random.chance(0.5);
  if (random.chance(0.5)) {
    args.matched = matched.data();
  } else {
    args.matched_int32 = matched_int32.data();
  }
  if (random.chance(0.8)) args.location_labels = location_labels.data();
  if (random.chance(0.8)) args.ltrb = ltrb.data();
  if (random.chance(0.8)) args.centerness = centerness.data();
  if (random.chance(0.8)) args.num_pos = &num_pos;
  if (random.chance(0.8)) args.centerness_sum = centerness_sum.data();
  if (random.chance(0.5)) args.counts = counts.data();
  if (random.chance(0.5)) args.image_counts = image_counts.data();
  call(random, args, fcos_ops::assign_targets_workspace_size, fcos_ops::assign_targets);
  if (is_hostile && images > 0 && random.chance(0.1)) {
    call_while_written(args, fcos_ops::assign_targets_workspace_size, fcos_ops::assign_targets,
                       starts);
  }
}

}  // namespace fuzz
