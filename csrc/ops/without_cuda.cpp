// What stands in for the CUDA drivers in a library without them.
#include "cuda/ops.h"

namespace fcos_ops::cuda {
namespace {

constexpr Status kNoCuda = {kNotImplementedForDevice, "this fcos_ops was built without CUDA"};

}  // namespace

[[gnu::weak]] std::size_t assign_targets_workspace_size(const AssignTargetsArgs&) { return 0; }
[[gnu::weak]] Status assign_targets(const AssignTargetsArgs&, Workspace, const Context&) {
  return kNoCuda;
}

[[gnu::weak]] std::size_t centerness_loss_workspace_size(const CenternessLossArgs&) { return 0; }
[[gnu::weak]] Status centerness_loss(const CenternessLossArgs&, Workspace, const Context&) {
  return kNoCuda;
}

[[gnu::weak]] std::size_t fcos_loss_workspace_size(const FcosLossArgs&) { return 0; }
[[gnu::weak]] Status fcos_loss(const FcosLossArgs&, Workspace, const Context&) { return kNoCuda; }
[[gnu::weak]] Status fcos_scale_gradients(const FcosScaleArgs&, const Context&) { return kNoCuda; }

[[gnu::weak]] std::size_t iou_loss_workspace_size(const IouLossArgs&) { return 0; }
[[gnu::weak]] Status iou_loss(const IouLossArgs&, Workspace, const Context&) { return kNoCuda; }

[[gnu::weak]] std::size_t nms_workspace_size(const NmsArgs&) { return 0; }
[[gnu::weak]] Status nms(const NmsArgs&, Workspace, const Context&) { return kNoCuda; }

[[gnu::weak]] std::size_t postprocess_workspace_size(const PostprocessArgs&) { return 0; }
[[gnu::weak]] Status postprocess(const PostprocessArgs&, Workspace, const Context&) {
  return kNoCuda;
}

[[gnu::weak]] std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&) { return 0; }
[[gnu::weak]] Status sigmoid_focal_loss(const FocalLossArgs&, Workspace, const Context&) {
  return kNoCuda;
}

[[gnu::weak]] Status centerness_target(const CenternessTargetArgs&, const Context&) {
  return kNoCuda;
}

}  // namespace fcos_ops::cuda
