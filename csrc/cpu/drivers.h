// The drivers that run on a CPU, one file each; their arguments have been checked (see ops/).
#pragma once

#include "fcos_ops/assign_targets.h"
#include "fcos_ops/centerness.h"
#include "fcos_ops/fcos_loss.h"
#include "fcos_ops/focal_loss.h"
#include "fcos_ops/group_norm.h"
#include "fcos_ops/iou_loss.h"
#include "fcos_ops/nms.h"
#include "fcos_ops/postprocess.h"
#include "fcos_ops/scale_gradients.h"

namespace fcos_ops::cpu {

std::size_t assign_targets_workspace_size(const AssignTargetsArgs& args, const Context& context);
Status assign_targets(const AssignTargetsArgs& args, Workspace workspace, const Context& context);

std::size_t centerness_loss_workspace_size(const CenternessLossArgs& args, const Context& context);
Status centerness_loss(const CenternessLossArgs& args, Workspace workspace, const Context& context);

std::size_t fcos_loss_workspace_size(const FcosLossArgs& args, const Context& context);
Status fcos_loss(const FcosLossArgs& args, Workspace workspace, const Context& context);

std::size_t group_norm_workspace_size(const GroupNormArgs& args, const Context& context);
Status group_norm(const GroupNormArgs& args, Workspace workspace, const Context& context);
std::size_t group_norm_backward_workspace_size(const GroupNormBackwardArgs& args,
                                               const Context& context);
Status group_norm_backward(const GroupNormBackwardArgs& args, Workspace workspace,
                           const Context& context);

std::size_t iou_loss_workspace_size(const IouLossArgs& args, const Context& context);
Status iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context);

std::size_t nms_workspace_size(const NmsArgs& args, const Context& context);
Status nms(const NmsArgs& args, Workspace workspace, const Context& context);

std::size_t postprocess_workspace_size(const PostprocessArgs& args, const Context& context);
Status postprocess(const PostprocessArgs& args, Workspace workspace, const Context& context);

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs& args, const Context& context);
Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context);

Status centerness_target(const CenternessTargetArgs& args, const Context& context);

Status scale_gradients(const ScaleGradientsArgs& args, const Context& context);

}  // namespace fcos_ops::cpu
