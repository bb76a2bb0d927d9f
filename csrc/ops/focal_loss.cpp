// Sigmoid focal loss: checks, then the driver of the device.
#include "fcos_ops/focal_loss.h"

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check(const FocalLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("sigmoid_focal_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_class_count(args.num_classes)) {
    return invalid("sigmoid_focal_loss: num_classes must be in [0, kMaxClasses]");
  }
  if (!is_floating(args.dtype)) return invalid("sigmoid_focal_loss: dtype must be floating");
  const std::int64_t rows = count_rows(args.logits, args.num_levels) * args.batch;
  if ((args.labels && args.targets) || (rows > 0 && !args.labels && !args.targets)) {
    return invalid("sigmoid_focal_loss: exactly one of labels and targets must be given");
  }
  if (args.labels && !is_integer(args.label_dtype)) {
    return invalid("sigmoid_focal_loss: label_dtype must be kInt32 or kInt64");
  }
  if (args.gradient && !math::is_gradient_dtype(args.gradient_dtype, args.dtype)) {
    return invalid("sigmoid_focal_loss: gradient_dtype must be dtype or that of the maths");
  }
  if (!is_focal_gamma(args.gamma)) {
    return invalid("sigmoid_focal_loss: gamma must be in [0, 3e38]");
  }
  return {};
}

}  // namespace

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::sigmoid_focal_loss_workspace_size(args)
                         : cuda::sigmoid_focal_loss_workspace_size(args);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (workspace.size < sigmoid_focal_loss_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "sigmoid_focal_loss: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::sigmoid_focal_loss(args, workspace, context)
                         : cuda::sigmoid_focal_loss(args, workspace, context);
}

}  // namespace fcos_ops
