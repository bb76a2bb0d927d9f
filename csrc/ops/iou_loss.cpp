// IoU losses: checks, then the driver of the device.
#include "fcos_ops/iou_loss.h"

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check(const IouLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("iou_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_floating(args.pred_dtype) || !is_floating(args.target_dtype)) {
    return invalid("iou_loss: pred_dtype and target_dtype must be floating ones");
  }
  if (args.gradient && !is_floating(args.gradient_dtype)) {
    return invalid("iou_loss: gradient_dtype must be floating");
  }
  if (args.kind < IouKind::kIou || args.kind > IouKind::kCiou) {
    return invalid("iou_loss: kind must be one of IouKind");
  }
  if (!(args.eps >= 1.17549435e-38 && args.eps <= 3e38)) {
    return invalid("iou_loss: eps must be finite and at least 1.2e-38");
  }
  return {};
}

}  // namespace

std::size_t iou_loss_workspace_size(const IouLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::iou_loss_workspace_size(args) : cuda::iou_loss_workspace_size(args);
}

Status iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (workspace.size < iou_loss_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "iou_loss: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::iou_loss(args, workspace, context)
                         : cuda::iou_loss(args, workspace, context);
}

}  // namespace fcos_ops
