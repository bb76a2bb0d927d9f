// Sigmoid focal loss: checks, then the driver of the device.
#include "fcos_ops/focal_loss.h"

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const FocalLossArgs& args) {
  return require({
      {is_level_count(args.num_levels),
       "sigmoid_focal_loss: num_levels must be in [0, kMaxLevels]"},
      {is_class_count(args.num_classes),
       "sigmoid_focal_loss: num_classes must be in [0, kMaxClasses]"},
      {are_levels(args.logits, args.num_levels, args.batch, args.num_classes),
       "sigmoid_focal_loss: logits must be given; batch and sizes must be >= 0, at most "
       "kMaxElements in all"},
      {is_floating(args.dtype), "sigmoid_focal_loss: dtype must be floating"},
  });
}

Status check_data(const FocalLossArgs& args) {
  const auto are_maps = [&](const auto* views) {
    return are_views(views, args.logits, args.num_levels, args.batch * args.num_classes);
  };
  const bool empty = count_rows(args.logits, args.num_levels) * args.batch == 0;
  return require({
      {are_maps(args.logits), "sigmoid_focal_loss: logits must have data"},
      {!(args.labels && args.targets) && (empty || args.labels || args.targets),
       "sigmoid_focal_loss: exactly one of labels and targets must be given"},
      {!args.labels || is_integer(args.label_dtype),
       "sigmoid_focal_loss: label_dtype must be kInt32 or kInt64"},
      {(!args.targets || are_maps(args.targets)) && (!args.losses || are_maps(args.losses)) &&
           (!args.gradient || are_maps(args.gradient)),
       "sigmoid_focal_loss: targets, losses and gradient must have data and the sizes of logits"},
      {!args.gradient || math::is_gradient_dtype(args.gradient_dtype, args.dtype),
       "sigmoid_focal_loss: gradient_dtype must be dtype or that of the maths"},
      {is_focal_gamma(args.gamma), "sigmoid_focal_loss: gamma must be in [0, 3e38]"},
      {is_normalizer(args.normalizer), "sigmoid_focal_loss: normalizer.dtype must be one of DType"},
  });
}

constexpr Op<FocalLossArgs> kOp = {"sigmoid_focal_loss: workspace must be as its query says",
                                   "sigmoid_focal_loss: this library was built without CUDA",
                                   {check_sizes, check_data}};

}  // namespace

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
