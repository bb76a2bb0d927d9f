#include "fcos_ops/centerness.h"

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::CenternessTargetArgs& args) {
  breaks.pointer("target", args.target, args.batch * args.ltrb->height * args.ltrb->width > 0);
  breaks.views("ltrb", args.ltrb, args.num_levels, args.batch * 4);
  breaks.num_levels(args.num_levels);
  breaks.size("batch", args.batch);
  breaks.floating("dtype", args.dtype);
}

void list_breaks(Breaks& breaks, fcos_ops::CenternessLossArgs& args) {
  const std::int64_t rows = args.batch * args.logits->height * args.logits->width;
  breaks.views("logits", args.logits, args.num_levels, args.batch);
  breaks.optional_views("gradient", args.gradient, args.num_levels, args.batch);
  breaks.same_size("gradient", args.gradient, args.num_levels);
  breaks.num_levels(args.num_levels);
  breaks.size("batch", args.batch);
  breaks.floating("dtype", args.dtype);
  if (args.gradient) breaks.floating("gradient_dtype", args.gradient_dtype);
  breaks.pointer("target", args.target, rows > 0);
  if (args.selection) {
    breaks.field("selection_dtype", args.selection_dtype,
                 {DType::kFloat32, DType::kFloat64, DType::kFloat16, DType{7}, DType{-1}});
  }
  breaks.normalizer(args.normalizer);
}

namespace {

void centerness_target(Random& random) {
  const std::int64_t count = random.integer(0, 700);
  const Style style(random);
  Map ltrb(random, style, floating(random), 1, 4, 1, count);
  ltrb.fill(random, -2, 30);
  Array target(random, maths_of(ltrb.dtype()), count);
  const fcos_ops::LevelView view = ltrb.view();
  fcos_ops::CenternessTargetArgs args;
  args.ltrb = &view;
  args.num_levels = 1;
  args.batch = 1;
  args.dtype = ltrb.dtype();
  args.target = target.data();
  call(random, args, fcos_ops::centerness_target);
}

void centerness_loss(Random& random) {
  const std::int64_t count = random.integer(0, 700);
  const Style style(random);
  Map logits(random, style, floating(random), 1, 1, 1, count);
  logits.fill(random, -20, 20);
  const DType maths = maths_of(logits.dtype());
  Map gradient(random, style, gradient_of(random, logits.dtype()), 1, 1, 1, count);
  Array target = numbers(random, maths, count, 0, 1), losses(random, maths, count);
  Array mask = integers(random, DType::kUInt8, count, 0, 1);
  Array labels = integers(random, integer(random), count, -2, 5);
  Array sum(random, maths, 1), gradient_scale = numbers(random, maths, 1, 0, 3);
  Array divisor(random, maths, 1);
  const fcos_ops::LevelView view = logits.view();
  const fcos_ops::MutableLevelView slope = gradient.mutable_view();
  fcos_ops::CenternessLossArgs args;
  args.logits = &view;
  args.num_levels = 1;
  args.batch = 1;
  args.dtype = logits.dtype();
  args.target = target.data();
  if (random.chance(0.3)) {
    args.selection = mask.data();
  } else if (random.chance(0.5)) {
    args.selection = labels.data();
    args.selection_dtype = labels.dtype();
  }
  args.normalizer = normalizer(random, &divisor);
  if (random.chance(0.5)) args.gradient_scale = gradient_scale.data();
  if (random.chance(0.5)) args.loss_sum = sum.data();
  if (random.chance(0.5)) args.losses = losses.data();
  if (random.chance(0.5)) args.gradient = &slope;
  args.gradient_dtype = gradient.dtype();
  call(random, args, fcos_ops::centerness_loss_workspace_size, fcos_ops::centerness_loss);
}

}  // namespace

void centerness(Random& random) {
  centerness_target(random);
  centerness_loss(random);
}

}  // namespace fuzz
