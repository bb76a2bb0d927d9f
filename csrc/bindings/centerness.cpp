#include "fcos_ops/centerness.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_centerness_target(Arguments& in) {
  CenternessTargetArgs args;
  LevelView view;
  const Tensor ltrb = in.tensor("ltrb");
  ltrb.expect_dtype(kFloating);
  const Rows rows({&ltrb});
  if (ltrb.size(ltrb.rank() - 1) != 4) {
    raise(PyExc_ValueError, "ltrb must have shape [..., 4], got " + ltrb.shape());
  }
  args.ltrb = row_view(ltrb, rows, view);
  args.num_levels = 1;
  args.batch = rows.batch;
  args.dtype = ltrb.dtype();
  args.target = in.values("target", maths_of(ltrb.dtype()), rows.count());
  return run(in, args, centerness_target);
}

std::size_t bound_centerness_loss(Arguments& in) {
  CenternessLossArgs args;
  LevelView view;
  MutableLevelView gradient_view;
  const Tensor logits = in.tensor("logits");
  logits.expect_dtype(kFloating);
  const std::int64_t count = logits.count();
  logits.expect_contiguous();
  const DType maths = maths_of(logits.dtype());
  args.logits = line_view(logits, view);
  args.num_levels = 1;
  args.batch = 1;
  args.dtype = logits.dtype();
  const Tensor values = in.tensor("target");
  values.expect_dtype(only(maths));
  values.expect_sizes_of(logits);
  values.expect_count(count);
  args.target = values.data();
  const Tensor mask = in.optional_tensor("mask"), labels = in.optional_tensor("labels");
  mask.expect_dtype(only(DType::kUInt8));
  labels.expect_dtype(kIntegers);
  if (mask.given() && labels.given()) {
    raise(PyExc_ValueError,
          "mask must be None where labels are given, got a tensor of shape " + mask.shape());
  }
  const Tensor& selection = mask.given() ? mask : labels;
  selection.expect_count(count);
  args.selection = selection.data();
  args.selection_dtype = selection.dtype();
  args.normalizer = in.normalizer(args.scale);
  const bool is_reduced = in.reduction(count, args.scale);
  args.gradient_scale = in.optional_values("grad_loss", maths, 1);

  (is_reduced ? args.loss_sum : args.losses) =
      in.optional_values("loss", maths, is_reduced ? 1 : count);
  const Tensor gradient = in.optional_tensor("gradient");
  gradient.expect_count(count);
  args.gradient = line_view(gradient, gradient_view);
  args.gradient_dtype = gradient.given() ? gradient.dtype() : maths;
  return run(in, args, centerness_loss_workspace_size, centerness_loss);
}

}  // namespace fcos_ops::bindings
