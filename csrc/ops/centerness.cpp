// Centerness: checks, then the driver of the device.
#include "fcos_ops/centerness.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "math/centerness.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check(const CenternessTargetArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("centerness_target: num_levels must be in [0, kMaxLevels]");
  }
  if (!are_levels(args.ltrb, args.num_levels, args.batch, 4)) {
    return invalid(
        "centerness_target: ltrb must be given; batch and sizes must be >= 0, at most kMaxElements "
        "in all");
  }
  if (!is_floating(args.dtype)) return invalid("centerness_target: dtype must be floating");
  const bool empty = count_rows(args.ltrb, args.num_levels) * args.batch == 0;
  if (!are_views(args.ltrb, args.ltrb, args.num_levels, args.batch * 4) ||
      (!empty && args.target == nullptr)) {
    return invalid("centerness_target: ltrb and target must have data");
  }
  return {};
}

Status check_sizes(const CenternessLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("centerness_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!are_levels(args.logits, args.num_levels, args.batch, 1)) {
    return invalid(
        "centerness_loss: logits must be given; batch and sizes must be >= 0, at most kMaxElements "
        "in all");
  }
  if (!is_floating(args.dtype)) return invalid("centerness_loss: dtype must be floating");
  return {};
}

Status check_data(const CenternessLossArgs& args) {
  const bool empty = count_rows(args.logits, args.num_levels) * args.batch == 0;
  if (!are_views(args.logits, args.logits, args.num_levels, args.batch) ||
      (!empty && args.target == nullptr)) {
    return invalid("centerness_loss: logits and target must have data");
  }
  if (args.gradient && !are_views(args.gradient, args.logits, args.num_levels, args.batch)) {
    return invalid("centerness_loss: gradient must have data and the sizes of logits");
  }
  if (args.gradient && !math::is_gradient_dtype(args.gradient_dtype, args.dtype)) {
    return invalid("centerness_loss: gradient_dtype must be dtype or that of the maths");
  }
  if (args.selection && !math::is_among(math::Selections{}, args.selection_dtype)) {
    return invalid("centerness_loss: selection_dtype must be kUInt8, kInt32 or kInt64");
  }
  if (!is_normalizer(args.normalizer)) {
    return invalid("centerness_loss: normalizer.dtype must be one of DType");
  }
  return {};
}

std::size_t workspace_size(const CenternessLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::centerness_loss_workspace_size(args)
                         : cuda::centerness_loss_workspace_size(args);
}

constexpr Op<CenternessLossArgs> kOp = {"centerness_loss: workspace must be as its query says",
                                        workspace_size,
                                        cpu::centerness_loss,
                                        cuda::centerness_loss,
                                        {check_sizes, check_data}};

}  // namespace

Status centerness_target(const CenternessTargetArgs& args, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  return on_cpu(context) ? cpu::centerness_target(args, context)
                         : cuda::centerness_target(args, context);
}

std::size_t centerness_loss_workspace_size(const CenternessLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status centerness_loss(const CenternessLossArgs& args, Workspace workspace,
                       const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
