// Stand-ins for the CPU drivers: here only kernels run.
#include "cpu/drivers.h"

namespace fcos_ops::cpu {
namespace {

constexpr Status kNoCpu = {kNotImplementedForDevice, "only CUDA kernels run here"};

}  // namespace

std::size_t assign_targets_workspace_size(const AssignTargetsArgs&, const Context&) { return 0; }
Status assign_targets(const AssignTargetsArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t centerness_loss_workspace_size(const CenternessLossArgs&, const Context&) { return 0; }
Status centerness_loss(const CenternessLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t fcos_loss_workspace_size(const FcosLossArgs&, const Context&) { return 0; }
Status fcos_loss(const FcosLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t group_norm_workspace_size(const GroupNormArgs&, const Context&) { return 0; }
Status group_norm(const GroupNormArgs&, Workspace, const Context&) { return kNoCpu; }
std::size_t group_norm_backward_workspace_size(const GroupNormBackwardArgs&, const Context&) {
  return 0;
}
Status group_norm_backward(const GroupNormBackwardArgs&, Workspace, const Context&) {
  return kNoCpu;
}

std::size_t iou_loss_workspace_size(const IouLossArgs&, const Context&) { return 0; }
Status iou_loss(const IouLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t nms_workspace_size(const NmsArgs&, const Context&) { return 0; }
Status nms(const NmsArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t postprocess_workspace_size(const PostprocessArgs&, const Context&) { return 0; }
Status postprocess(const PostprocessArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&, const Context&) { return 0; }
Status sigmoid_focal_loss(const FocalLossArgs&, Workspace, const Context&) { return kNoCpu; }

Status centerness_target(const CenternessTargetArgs&, const Context&) { return kNoCpu; }

Status scale_gradients(const ScaleGradientsArgs&, const Context&) { return kNoCpu; }

}  // namespace fcos_ops::cpu
