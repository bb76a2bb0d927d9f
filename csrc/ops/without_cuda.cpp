// Stand-ins for the CUDA drivers in a library without them.
#include "cuda/drivers.h"

namespace fcos_ops::cuda {
namespace {

constexpr Status without_cuda(const char* message) { return {kNotImplementedForDevice, message}; }

}  // namespace

std::size_t assign_targets_workspace_size(const AssignTargetsArgs&, const Context&) { return 0; }
Status assign_targets(const AssignTargetsArgs&, Workspace, const Context&) {
  return without_cuda("assign_targets: this library was built without CUDA");
}

std::size_t centerness_loss_workspace_size(const CenternessLossArgs&, const Context&) { return 0; }
Status centerness_loss(const CenternessLossArgs&, Workspace, const Context&) {
  return without_cuda("centerness_loss: this library was built without CUDA");
}

std::size_t fcos_loss_workspace_size(const FcosLossArgs&, const Context&) { return 0; }
Status fcos_loss(const FcosLossArgs&, Workspace, const Context&) {
  return without_cuda("fcos_loss: this library was built without CUDA");
}

std::size_t group_norm_workspace_size(const GroupNormArgs&, const Context&) { return 0; }
Status group_norm(const GroupNormArgs&, Workspace, const Context&) {
  return without_cuda("group_norm: this library was built without CUDA");
}
std::size_t group_norm_backward_workspace_size(const GroupNormBackwardArgs&, const Context&) {
  return 0;
}
Status group_norm_backward(const GroupNormBackwardArgs&, Workspace, const Context&) {
  return without_cuda("group_norm_backward: this library was built without CUDA");
}

std::size_t iou_loss_workspace_size(const IouLossArgs&, const Context&) { return 0; }
Status iou_loss(const IouLossArgs&, Workspace, const Context&) {
  return without_cuda("iou_loss: this library was built without CUDA");
}

std::size_t nms_workspace_size(const NmsArgs&, const Context&) { return 0; }
Status nms(const NmsArgs&, Workspace, const Context&) {
  return without_cuda("nms: this library was built without CUDA");
}

std::size_t postprocess_workspace_size(const PostprocessArgs&, const Context&) { return 0; }
Status postprocess(const PostprocessArgs&, Workspace, const Context&) {
  return without_cuda("postprocess: this library was built without CUDA");
}

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&, const Context&) { return 0; }
Status sigmoid_focal_loss(const FocalLossArgs&, Workspace, const Context&) {
  return without_cuda("sigmoid_focal_loss: this library was built without CUDA");
}

Status centerness_target(const CenternessTargetArgs&, const Context&) {
  return without_cuda("centerness_target: this library was built without CUDA");
}

Status scale_gradients(const ScaleGradientsArgs&, const Context&) {
  return without_cuda("scale_gradients: this library was built without CUDA");
}

}  // namespace fcos_ops::cuda
