// Centerness: checks, then the driver of the device.
#include "fcos_ops/centerness.h"

#include "math/centerness.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check(const CenternessTargetArgs& args) {
  const Status sizes = require({
      {is_level_count(args.num_levels), "centerness_target: num_levels must be in [0, kMaxLevels]"},
      {are_levels(args.ltrb, args.num_levels, args.batch, 4),
       "centerness_target: ltrb must be given; batch and sizes must be >= 0, at most kMaxElements "
       "in all"},
      {is_floating(args.dtype), "centerness_target: dtype must be floating"},
  });
  if (!sizes.ok()) return sizes;
  const bool empty = count_rows(args.ltrb, args.num_levels) * args.batch == 0;
  return require({
      {are_views(args.ltrb, args.ltrb, args.num_levels, args.batch * 4) && (empty || args.target),
       "centerness_target: ltrb and target must have data"},
  });
}

Status check_sizes(const CenternessLossArgs& args) {
  return require({
      {is_level_count(args.num_levels), "centerness_loss: num_levels must be in [0, kMaxLevels]"},
      {are_levels(args.logits, args.num_levels, args.batch, 1),
       "centerness_loss: logits must be given; batch and sizes must be >= 0, at most kMaxElements "
       "in all"},
      {is_floating(args.dtype), "centerness_loss: dtype must be floating"},
  });
}

Status check_data(const CenternessLossArgs& args) {
  const auto are_maps = [&](const auto* views) {
    return are_views(views, args.logits, args.num_levels, args.batch);
  };
  const bool empty = count_rows(args.logits, args.num_levels) * args.batch == 0;
  return require({
      {are_maps(args.logits) && (empty || args.target),
       "centerness_loss: logits and target must have data"},
      {!args.gradient || are_maps(args.gradient),
       "centerness_loss: gradient must have data and the sizes of logits"},
      {!args.gradient || math::is_gradient_dtype(args.gradient_dtype, args.dtype),
       "centerness_loss: gradient_dtype must be dtype or that of the maths"},
      {!args.selection || math::is_among(math::Selections{}, args.selection_dtype),
       "centerness_loss: selection_dtype must be kUInt8, kInt32 or kInt64"},
      {is_normalizer(args.normalizer), "centerness_loss: normalizer.dtype must be one of DType"},
  });
}

constexpr Op<CenternessLossArgs> kOp = {"centerness_loss: workspace must be as its query says",
                                        "centerness_loss: this library was built without CUDA",
                                        {check_sizes, check_data}};

}  // namespace

Status centerness_target(const CenternessTargetArgs& args, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  return run_driver(context, "centerness_target: this library was built without CUDA", args);
}

std::size_t centerness_loss_workspace_size(const CenternessLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status centerness_loss(const CenternessLossArgs& args, Workspace workspace,
                       const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
