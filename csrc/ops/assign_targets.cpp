// Target assignment: checks, then the driver of the device.
#include "fcos_ops/assign_targets.h"

#include <algorithm>
#include <limits>

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

// Of a level's height and width: cells are counted in 32 bits, the one past the end included.
constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max() - 1;

Status check(const AssignTargetsArgs& args) {
  if (args.batch < 0) return invalid("assign_targets: batch must be >= 0");
  if (!is_level_count(args.num_levels)) {
    return invalid("assign_targets: num_levels must be in [0, kMaxLevels]");
  }
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = args.levels[i];
    if (std::min(level.height, level.width) < 0 || std::max(level.height, level.width) > kMaxSize ||
        std::min(level.stride_y, level.stride_x) <= 0) {
      return invalid("assign_targets: levels must have sizes in [0, 2^31 - 2], strides > 0");
    }
  }
  if (!is_floating(args.box_dtype)) return invalid("assign_targets: box_dtype must be floating");
  if (!is_integer(args.label_dtype) || !is_integer(args.offset_dtype)) {
    return invalid("assign_targets: label_dtype and offset_dtype must be kInt32 or kInt64");
  }
  if (args.matched_int32 && args.num_boxes > kMaxSize + 1) {
    return invalid("assign_targets: matched_int32 is for fewer than 2^31 boxes");
  }
  return {};
}

bool has_locations(const AssignTargetsArgs& args) {
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    if (args.levels[i].height > 0 && args.levels[i].width > 0) return args.batch > 0;
  }
  return false;
}

}  // namespace

std::size_t assign_targets_workspace_size(const AssignTargetsArgs& args, const Context& context) {
  if (!check(args).ok()) return 0;
  return on_cpu(context) ? cpu::assign_targets_workspace_size(args)
                         : cuda::assign_targets_workspace_size(args);
}

Status assign_targets(const AssignTargetsArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if ((args.matched != nullptr) == (args.matched_int32 != nullptr) && has_locations(args)) {
    return invalid("assign_targets: exactly one of matched and matched_int32 must be given");
  }
  if (workspace.size < assign_targets_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "assign_targets: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::assign_targets(args, workspace, context)
                         : cuda::assign_targets(args, workspace, context);
}

}  // namespace fcos_ops
