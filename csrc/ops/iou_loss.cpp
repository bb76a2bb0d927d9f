// IoU losses: checks, then the driver of the device.
#include "fcos_ops/iou_loss.h"

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const IouLossArgs& args) {
  return require({
      {is_level_count(args.num_levels), "iou_loss: num_levels must be in [0, kMaxLevels]"},
      {are_levels(args.pred, args.num_levels, args.batch, 4),
       "iou_loss: pred must be given; batch and sizes must be >= 0, at most kMaxElements in all"},
      {is_floating(args.pred_dtype) && is_floating(args.target_dtype),
       "iou_loss: pred_dtype and target_dtype must be floating ones"},
  });
}

bool is_gradient_dtype(const IouLossArgs& args) {
  const bool is_double = args.pred_dtype == DType::kFloat64 || args.target_dtype == DType::kFloat64;
  return args.gradient_dtype == args.pred_dtype ||
         args.gradient_dtype == (is_double ? DType::kFloat64 : DType::kFloat32);
}

Status check_data(const IouLossArgs& args) {
  const auto are_pairs = [&](const auto* views) {
    return are_views(views, args.pred, args.num_levels, args.batch * 4);
  };
  return require({
      {are_pairs(args.pred) && are_pairs(args.target),
       "iou_loss: pred and target must have data and equal sizes"},
      {!args.gradient || are_pairs(args.gradient),
       "iou_loss: gradient must have data and the sizes of pred"},
      {!args.gradient || is_gradient_dtype(args),
       "iou_loss: gradient_dtype must be pred_dtype or that of the maths"},
      {is_enumerator(args.kind, IouKind::kCiou), "iou_loss: kind must be one of IouKind"},
      {is_enumerator(args.box_format, BoxFormat::kLtrb),
       "iou_loss: box_format must be one of BoxFormat"},
      {is_iou_eps(args.eps), "iou_loss: eps must be in [1.17549435e-38, 3e38]"},
      {is_normalizer(args.normalizer), "iou_loss: normalizer.dtype must be one of DType"},
  });
}

constexpr Op<IouLossArgs> kOp = {"iou_loss: workspace must be as its query says",
                                 "iou_loss: this library was built without CUDA",
                                 {check_sizes, check_data}};

}  // namespace

std::size_t iou_loss_workspace_size(const IouLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
