#include "fcos_ops/assign_targets.h"

#include "random.h"

namespace fuzz {

void assign_targets(Random& random) {
  const std::int64_t images = random.integer(0, 3);
  const std::int64_t count = images == 0 ? 0 : random.integer(0, 150);
  const std::vector<float> boxes = random.boxes(count, 300);
  const std::vector<std::int64_t> offsets = random.offsets(images, count);
  std::vector<std::int32_t> labels(count);
  for (auto& label : labels) label = static_cast<std::int32_t>(random.integer(-4, 90));
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
  std::vector<std::int64_t> location_labels(images * locations), matched(images * locations);
  std::vector<float> ltrb(images * locations * 4), centerness(images * locations);
  std::int64_t num_pos = 0;
  float centerness_sum = 0;

  fcos_ops::AssignTargetsArgs args;
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = images;
  args.boxes = boxes.data();
  args.num_boxes = count;
  args.labels = labels.data();
  args.label_dtype = fcos_ops::DType::kInt32;
  args.offsets = offsets.data();
  args.location_offset = random.nasty(-1, 1);
  args.center_radius = random.nasty(-1, 3);
  args.center_region = static_cast<fcos_ops::CenterRegion>(random.integer(0, 1));
  args.range_inclusive = random.chance(0.5);
  args.area_rule = static_cast<fcos_ops::AreaRule>(random.integer(0, 1));
  args.max_area = random.nasty(100, 10000);
  args.normalize_ltrb = random.chance(0.5);
  args.location_labels = location_labels.data();
  args.ltrb = ltrb.data();
  args.centerness = centerness.data();
  args.matched = matched.data();
  args.num_pos = &num_pos;
  args.centerness_sum = &centerness_sum;
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::assign_targets_workspace_size(args, context));
  require(fcos_ops::assign_targets(args, scratch.workspace(), context));
}

}  // namespace fuzz
