#include "fcos_ops/iou_loss.h"

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {

std::size_t bound_iou_loss(Arguments& in) {
  IouLossArgs args;
  LevelView pred_view, target_view;
  MutableLevelView gradient_view;
  const Tensor pred = in.tensor("pred"), target = in.tensor("target");
  pred.expect_dtype(kFloating);
  target.expect_dtype(kFloating);
  target.expect_sizes_of(pred);
  const Rows rows({&pred, &target});
  if (pred.size(pred.rank() - 1) != 4) {
    raise(PyExc_ValueError, "pred must have shape [..., 4], got " + pred.shape());
  }
  args.pred = row_view(pred, rows, pred_view);
  args.target = row_view(target, rows, target_view);
  args.num_levels = 1;
  args.batch = rows.batch;
  args.pred_dtype = pred.dtype();
  args.target_dtype = target.dtype();
  const bool is_double = pred.dtype() == DType::kFloat64 || target.dtype() == DType::kFloat64;
  const DType maths = is_double ? DType::kFloat64 : DType::kFloat32;
  args.weight = in.optional_values("weight", maths, rows.count());
  args.normalizer = in.normalizer(args.scale);
  args.kind = in.word<IouKind>("kind", kIouKinds);
  args.box_format = in.word<BoxFormat>("box_format", kBoxFormats);
  args.eps = in.number("eps");
  const bool is_reduced = in.reduction(rows.count(), args.scale);
  args.gradient_scale = in.optional_values("grad_loss", maths, 1);

  (is_reduced ? args.loss_sum : args.losses) =
      in.optional_values("loss", maths, is_reduced ? 1 : rows.count());
  const Tensor gradient = in.optional_tensor("gradient");
  gradient.expect_sizes_of(pred);
  args.gradient = row_view(gradient, rows, gradient_view);
  args.gradient_dtype = gradient.dtype();
  return run(in, args, iou_loss_workspace_size, iou_loss);
}

}  // namespace fcos_ops::bindings
