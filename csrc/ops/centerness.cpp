// Centerness: checks, then the driver of the device.
#include "fcos_ops/centerness.h"

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "math/centerness.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check(const CenternessLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("centerness_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_floating(args.dtype)) return invalid("centerness_loss: dtype must be floating");
  if (args.gradient && !math::is_gradient_dtype(args.gradient_dtype, args.dtype)) {
    return invalid("centerness_loss: gradient_dtype must be dtype or that of the maths");
  }
  if (args.selection && !math::is_among(math::Selections{}, args.selection_dtype)) {
    return invalid("centerness_loss: selection_dtype must be kUInt8, kInt32 or kInt64");
  }
  return {};
}

}  // namespace

Status centerness_target(const CenternessTargetArgs& args, const Context& context) {
  if (!is_level_count(args.num_levels)) {
    return invalid("centerness_target: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_floating(args.dtype)) return invalid("centerness_target: dtype must be floating");
  return on_cpu(context) ? cpu::centerness_target(args, context)
                         : cuda::centerness_target(args, context);
}

std::size_t centerness_loss_workspace_size(const CenternessLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::centerness_loss_workspace_size(args)
                         : cuda::centerness_loss_workspace_size(args);
}

Status centerness_loss(const CenternessLossArgs& args, Workspace workspace,
                       const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (workspace.size < centerness_loss_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "centerness_loss: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::centerness_loss(args, workspace, context)
                         : cuda::centerness_loss(args, workspace, context);
}

}  // namespace fcos_ops
