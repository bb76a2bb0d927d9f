#include "fcos_ops/focal_loss.h"

#include <cmath>

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::FocalLossArgs& args) {
  const std::int64_t rows = args.batch * args.logits->height * args.logits->width;
  const std::int64_t elements = args.batch * args.num_classes;
  breaks.views("logits", args.logits, args.num_levels, elements);
  breaks.optional_views("targets", args.targets, args.num_levels, elements);
  breaks.optional_views("losses", args.losses, args.num_levels, elements);
  breaks.optional_views("gradient", args.gradient, args.num_levels, elements);
  breaks.same_size("targets", args.targets, args.num_levels);
  breaks.same_size("losses", args.losses, args.num_levels);
  breaks.same_size("gradient", args.gradient, args.num_levels);
  breaks.num_levels(args.num_levels);
  breaks.size("batch", args.batch);
  breaks.size("num_classes", args.num_classes);
  breaks.floating("dtype", args.dtype);
  if (args.labels) breaks.integral("label_dtype", args.label_dtype);
  if (args.gradient) breaks.floating("gradient_dtype", args.gradient_dtype);
  breaks.pointer("labels", args.labels, args.labels && rows > 0);
  if (args.targets) breaks.field<const void*>("labels", args.labels, {args.logits});
  breaks.normalizer(args.normalizer);
  breaks.field<double>("gamma", args.gamma, {-1.0, 1e39, NAN, INFINITY});
  breaks.integers("labels", args.labels, args.label_dtype, rows, false);
}

void focal_loss(Random& random) {
  const std::int64_t batch = random.integer(0, 2), classes = random.integer(0, 30);
  const std::int64_t height = random.integer(0, 5), width = random.integer(0, 300);
  const std::int64_t rows = batch * height * width;
  const DType dtype = floating(random), maths = maths_of(dtype);
  const Style style(random);
  const auto map = [&](DType type) {
    return Map(random, style, type, batch, classes, height, width);
  };
  Map logits = map(dtype), targets = map(maths), losses = map(maths);
  Map gradient = map(gradient_of(random, dtype));
  logits.fill(random, -20, 20);
  targets.fill(random, 0, 1);
  Array weight = numbers(random, maths, rows, 0, 2);
  Array labels = integers(random, integer(random), rows, -4, classes + 2);
  Array sum(random, maths, 1), gradient_scale = numbers(random, maths, 1, 0, 3);
  Array divisor(random, maths, 1);

  const fcos_ops::LevelView logit_view = logits.view(), target_view = targets.view();
  const auto loss_view = losses.mutable_view(), gradient_view = gradient.mutable_view();
  fcos_ops::FocalLossArgs args;
  args.logits = &logit_view;
  args.num_levels = 1;
  args.batch = batch;
  args.num_classes = classes;
  args.dtype = dtype;
  if (random.chance(0.7)) {
    args.labels = labels.data();
    args.label_dtype = labels.dtype();
  } else {
    args.targets = &target_view;
  }
  if (random.chance(0.5)) args.weight = weight.data();
  args.normalizer = normalizer(random, &divisor);
  args.alpha = random.chance(0.2) ? -1.0 : 0.25;
  args.gamma = static_cast<double>(random.integer(0, 6)) / 2;
  if (random.chance(0.5)) args.gradient_scale = gradient_scale.data();
  args.loss_sum = sum.data();
  if (random.chance(0.5)) args.losses = &loss_view;
  if (random.chance(0.5)) args.gradient = &gradient_view;
  args.gradient_dtype = gradient.dtype();
  call(random, args, fcos_ops::sigmoid_focal_loss_workspace_size, fcos_ops::sigmoid_focal_loss);
}

}  // namespace fuzz
