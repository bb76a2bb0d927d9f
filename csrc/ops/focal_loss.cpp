// Sigmoid focal loss: checks, then the driver of the device.
#include "fcos_ops/focal_loss.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const FocalLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("sigmoid_focal_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_class_count(args.num_classes)) {
    return invalid("sigmoid_focal_loss: num_classes must be in [0, kMaxClasses]");
  }
  if (!are_levels(args.logits, args.num_levels, args.batch, args.num_classes)) {
    return invalid(
        "sigmoid_focal_loss: logits must be given; batch and sizes must be >= 0, at most "
        "kMaxElements in all");
  }
  if (!is_floating(args.dtype)) return invalid("sigmoid_focal_loss: dtype must be floating");
  return {};
}

Status check_data(const FocalLossArgs& args) {
  const auto are_maps = [&](const auto* views) {
    return are_views(views, args.logits, args.num_levels, args.batch * args.num_classes);
  };
  if (!are_maps(args.logits)) return invalid("sigmoid_focal_loss: logits must have data");
  const bool empty = count_rows(args.logits, args.num_levels) * args.batch == 0;
  if ((args.labels && args.targets) || (!empty && !args.labels && !args.targets)) {
    return invalid("sigmoid_focal_loss: exactly one of labels and targets must be given");
  }
  if (args.labels && !is_integer(args.label_dtype)) {
    return invalid("sigmoid_focal_loss: label_dtype must be kInt32 or kInt64");
  }
  if ((args.targets && !are_maps(args.targets)) || (args.losses && !are_maps(args.losses)) ||
      (args.gradient && !are_maps(args.gradient))) {
    return invalid(
        "sigmoid_focal_loss: targets, losses and gradient must have data and the sizes of logits");
  }
  if (args.gradient && !math::is_gradient_dtype(args.gradient_dtype, args.dtype)) {
    return invalid("sigmoid_focal_loss: gradient_dtype must be dtype or that of the maths");
  }
  if (!is_focal_gamma(args.gamma)) {
    return invalid("sigmoid_focal_loss: gamma must be in [0, 3e38]");
  }
  if (!is_normalizer(args.normalizer)) {
    return invalid("sigmoid_focal_loss: normalizer.dtype must be one of DType");
  }
  return {};
}

std::size_t workspace_size(const FocalLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::sigmoid_focal_loss_workspace_size(args)
                         : cuda::sigmoid_focal_loss_workspace_size(args);
}

constexpr Op<FocalLossArgs> kOp = {"sigmoid_focal_loss: workspace must be as its query says",
                                   workspace_size,
                                   cpu::sigmoid_focal_loss,
                                   cuda::sigmoid_focal_loss,
                                   {check_sizes, check_data}};

}  // namespace

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
