// The drivers that run on a CPU, told apart by their arguments, which have been checked (see ops/).
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

std::size_t workspace_size(const AssignTargetsArgs& args, const Context& context);
Status run(const AssignTargetsArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const CenternessLossArgs& args, const Context& context);
Status run(const CenternessLossArgs& args, Workspace workspace, const Context& context);
Status run(const CenternessTargetArgs& args, const Context& context);

std::size_t workspace_size(const FcosLossArgs& args, const Context& context);
Status run(const FcosLossArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const FocalLossArgs& args, const Context& context);
Status run(const FocalLossArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const GroupNormArgs& args, const Context& context);
Status run(const GroupNormArgs& args, Workspace workspace, const Context& context);
std::size_t workspace_size(const GroupNormBackwardArgs& args, const Context& context);
Status run(const GroupNormBackwardArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const IouLossArgs& args, const Context& context);
Status run(const IouLossArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const NmsArgs& args, const Context& context);
Status run(const NmsArgs& args, Workspace workspace, const Context& context);

std::size_t workspace_size(const PostprocessArgs& args, const Context& context);
Status run(const PostprocessArgs& args, Workspace workspace, const Context& context);

Status run(const ScaleGradientsArgs& args, const Context& context);

}  // namespace fcos_ops::cpu
