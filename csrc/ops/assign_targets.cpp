// Target assignment: checks, then the driver of the device.
#include "fcos_ops/assign_targets.h"

#include <limits>

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const AssignTargetsArgs& args) {
  const bool has_levels = are_levels(args.levels, args.num_levels, args.batch, 4);
  return require({
      {is_level_count(args.num_levels), "assign_targets: num_levels must be in [0, kMaxLevels]"},
      {has_levels,
       "assign_targets: levels must be given; batch and sizes must be >= 0, at most kMaxElements "
       "in all"},
      {has_levels && are_assignment_levels(args.levels, args.num_levels),
       "assign_targets: levels must have sizes in [0, 2^31 - 2], strides > 0"},
      {are_sizes({args.num_boxes, 4}),
       "assign_targets: num_boxes must be >= 0, and 4 of them at most kMaxElements"},
      {is_floating(args.box_dtype), "assign_targets: box_dtype must be floating"},
      {is_integer(args.label_dtype) && is_integer(args.offset_dtype),
       "assign_targets: label_dtype and offset_dtype must be kInt32 or kInt64"},
  });
}

Status check_data(const AssignTargetsArgs& args) {
  const bool empty = count_rows(args.levels, args.num_levels) * args.batch == 0;
  return require({
      {args.num_boxes == 0 || (args.boxes && args.labels),
       "assign_targets: boxes and labels must be given"},
      {args.batch == 0 || args.offsets, "assign_targets: offsets must be given"},
      {is_enumerator(args.rule.center_region, CenterRegion::kChebyshev),
       "assign_targets: center_region must be one of CenterRegion"},
      {is_enumerator(args.rule.area_rule, AreaRule::kFloat32Complement),
       "assign_targets: area_rule must be one of AreaRule"},
      {empty || (args.matched != nullptr) != (args.matched_int32 != nullptr),
       "assign_targets: exactly one of matched and matched_int32 must be given"},
      {!args.matched_int32 || args.num_boxes <= std::numeric_limits<std::int32_t>::max(),
       "assign_targets: matched_int32 is for fewer than 2^31 boxes"},
  });
}

constexpr Op<AssignTargetsArgs> kOp = {"assign_targets: workspace must be as its query says",
                                       "assign_targets: this library was built without CUDA",
                                       {check_sizes, check_data}};

}  // namespace

std::size_t assign_targets_workspace_size(const AssignTargetsArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status assign_targets(const AssignTargetsArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
