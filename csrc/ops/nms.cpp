// Non-maximum suppression: checks, then the driver of the device.
#include "fcos_ops/nms.h"

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check(const NmsArgs& args) {
  if (args.num_boxes < 0 || args.num_images < 0 || args.max_detections < 0) {
    return invalid("nms: num_boxes, num_images and max_detections must be >= 0");
  }
  if (!(args.iou_threshold >= 0.0 && args.iou_threshold <= 1.0)) {
    return invalid("nms: iou_threshold must be in [0, 1]");
  }
  if (!is_floating(args.box_dtype) || !is_floating(args.score_dtype)) {
    return invalid("nms: box_dtype and score_dtype must be floating");
  }
  if (!is_integer(args.class_dtype) || !is_integer(args.offset_dtype)) {
    return invalid("nms: class_dtype and offset_dtype must be kInt32 or kInt64");
  }
  return {};
}

}  // namespace

std::size_t nms_workspace_size(const NmsArgs& args, const Context& context) {
  if (!check(args).ok()) return 0;
  return on_cpu(context) ? cpu::nms_workspace_size(args) : cuda::nms_workspace_size(args);
}

Status nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (args.offsets == nullptr && args.num_images != 1) {
    return invalid("nms: several images need offsets");
  }
  if (workspace.size < nms_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "nms: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::nms(args, workspace, context) : cuda::nms(args, workspace, context);
}

}  // namespace fcos_ops
