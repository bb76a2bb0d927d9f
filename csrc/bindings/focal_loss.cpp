#include "fcos_ops/focal_loss.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_sigmoid_focal_loss(Arguments& in) {
  FocalLossArgs args;
  LevelView logit_view, target_view;
  MutableLevelView loss_view, gradient_view;
  const Tensor logits = in.tensor("logits"), labels = in.tensor("labels");
  logits.expect_dtype(kFloating);
  const DType maths = maths_of(logits.dtype());
  const bool is_dense = labels.is(kFloating);
  const Rows rows({&logits, is_dense ? &labels : &logits});
  args.logits = row_view(logits, rows, logit_view);
  args.num_levels = 1;
  args.batch = rows.batch;
  args.num_classes = logits.size(logits.rank() - 1);
  args.dtype = logits.dtype();
  if (args.num_classes > kMaxClasses) {
    raise(PyExc_ValueError, "logits must have at most " + std::to_string(kMaxClasses) +
                                " classes, got shape " + logits.shape());
  }
  if (is_dense) {
    labels.expect_sizes_of(logits);
    labels.expect_dtype(only(maths));
    args.targets = row_view(labels, rows, target_view);
  } else {
    labels.expect_dtype(kIntegers);
    labels.expect_count(rows.count());
    args.labels = labels.data();
    args.label_dtype = labels.dtype();
  }
  args.weight = in.optional_values("weight", maths, rows.count());
  args.normalizer = in.normalizer(args.scale);
  args.alpha = in.number("alpha");
  args.gamma = in.number("gamma");
  const bool is_reduced = in.reduction(logits.count(), args.scale);
  args.gradient_scale = in.optional_values("grad_loss", maths, 1);

  const Tensor loss = in.optional_tensor("loss"), gradient = in.optional_tensor("gradient");
  loss.expect_dtype(only(maths));
  if (is_reduced) {
    loss.expect_count(1);
    args.loss_sum = loss.data();
  } else {
    loss.expect_sizes_of(logits);
    args.losses = row_view(loss, rows, loss_view);
  }
  gradient.expect_sizes_of(logits);
  args.gradient = row_view(gradient, rows, gradient_view);
  args.gradient_dtype = gradient.given() ? gradient.dtype() : maths;
  return run(in, args, sigmoid_focal_loss_workspace_size, sigmoid_focal_loss);
}

}  // namespace fcos_ops::bindings
