// Stand-ins for the CPU drivers: here only kernels run.
#include "cpu/drivers.h"

namespace fcos_ops::cpu {
namespace {

constexpr Status kNoCpu = {kNotImplementedForDevice, "only CUDA kernels run here"};

}  // namespace

std::size_t workspace_size(const AssignTargetsArgs&, const Context&) { return 0; }
Status run(const AssignTargetsArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const CenternessLossArgs&, const Context&) { return 0; }
Status run(const CenternessLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const FcosLossArgs&, const Context&) { return 0; }
Status run(const FcosLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const GroupNormArgs&, const Context&) { return 0; }
Status run(const GroupNormArgs&, Workspace, const Context&) { return kNoCpu; }
std::size_t workspace_size(const GroupNormBackwardArgs&, const Context&) { return 0; }
Status run(const GroupNormBackwardArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const IouLossArgs&, const Context&) { return 0; }
Status run(const IouLossArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const NmsArgs&, const Context&) { return 0; }
Status run(const NmsArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const PostprocessArgs&, const Context&) { return 0; }
Status run(const PostprocessArgs&, Workspace, const Context&) { return kNoCpu; }

std::size_t workspace_size(const FocalLossArgs&, const Context&) { return 0; }
Status run(const FocalLossArgs&, Workspace, const Context&) { return kNoCpu; }

Status run(const CenternessTargetArgs&, const Context&) { return kNoCpu; }

Status run(const ScaleGradientsArgs&, const Context&) { return kNoCpu; }

}  // namespace fcos_ops::cpu
