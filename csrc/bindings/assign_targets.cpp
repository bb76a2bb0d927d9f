#include "fcos_ops/assign_targets.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::int32_t read_assignment_levels(Arguments& in,
                                    std::array<AssignmentLevel, kMaxLevels>& levels) {
  const auto grids = in.read_sequence(), lengths = in.read_sequence();
  const std::int32_t count = grids.groups_of(4);
  if (lengths.groups_of(3) != count) throw std::invalid_argument("levels: unequal lengths");
  for (std::int32_t i = 0; i < count; ++i) {
    AssignmentLevel& level = levels[i];
    std::int64_t* const grid[] = {&level.height, &level.width, &level.stride_y, &level.stride_x};
    double* const length[] = {&level.scale, &level.lower, &level.upper};
    for (int k = 0; k < 4; ++k) Arguments::convert(grids[4 * i + k], *grid[k]);
    for (int k = 0; k < 3; ++k) Arguments::convert(lengths[3 * i + k], *length[k]);
  }
  return count;
}

std::size_t bound_assign_targets(Arguments& in) {
  std::array<AssignmentLevel, kMaxLevels> levels;
  AssignTargetsArgs args;
  args.levels = levels.data();
  args.num_levels = read_assignment_levels(in, levels);
  in.read(args.batch, args.boxes, args.num_boxes, args.box_dtype, args.labels, args.label_dtype,
          args.offsets, args.offset_dtype);
  in.read(args.location_offset, args.center_radius, args.center_region, args.range_inclusive,
          args.area_rule, args.max_area, args.normalize_ltrb);
  in.read(args.location_labels, args.ltrb, args.centerness, args.matched, args.num_pos,
          args.centerness_sum, args.matched_int32, args.counts, args.image_counts);
  return run(in, args, assign_targets_workspace_size, assign_targets);
}

}  // namespace fcos_ops::bindings
