#include "fcos_ops/assign_targets.h"

#include <array>

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

AssignmentRule read_rule(Arguments& in) {
  AssignmentRule rule;
  rule.location_offset = in.number("location_offset");
  rule.center_radius = in.number("center_radius");
  rule.center_region = in.word<CenterRegion>("center_region", kCenterRegions);
  rule.range_inclusive = in.boolean("range_inclusive");
  rule.area_rule = in.word<AreaRule>("area_rule", kAreaRules);
  rule.max_area = in.number("max_area");
  rule.normalize_ltrb = in.boolean("normalize_ltrb");
  return rule;
}

}  // namespace

std::size_t bound_assign_targets(Arguments& in) {
  AssignTargetsArgs args;
  std::array<AssignmentLevel, kMaxLevels> levels;
  const Tensor boxes = in.tensor("boxes"), labels = in.tensor("labels");
  const Tensor offsets = in.tensor("offsets");
  set_boxes(boxes, labels, args);
  expect_offsets(offsets, args.num_boxes);
  args.batch = offsets.size(0) - 1;
  args.offsets = offsets.data();
  args.offset_dtype = offsets.dtype();
  args.num_levels = in.levels(levels);
  args.levels = levels.data();
  args.rule = read_rule(in);

  const std::int64_t rows = args.batch * count_locations(levels, args.num_levels);
  const DType maths = maths_of(boxes.dtype());
  args.location_labels = in.optional_values<std::int64_t>("location_labels", DType::kInt64, rows);
  args.ltrb = in.optional_values("ltrb", maths, 4 * rows);
  args.centerness = in.optional_values("centerness", maths, rows);
  args.matched = in.optional_values<std::int64_t>("matched", DType::kInt64, rows);
  args.num_pos = in.optional_values<std::int64_t>("num_pos", DType::kInt64, 1);
  args.centerness_sum = in.optional_values("centerness_sum", maths, 1);
  args.matched_int32 = in.optional_values<std::int32_t>("matched_int32", DType::kInt32, rows);
  args.counts = in.optional_values("counts", maths, 2);
  args.image_counts = in.optional_values("image_counts", maths, 2 * args.batch);
  return run(in, args, assign_targets_workspace_size, assign_targets);
}

}  // namespace fcos_ops::bindings
