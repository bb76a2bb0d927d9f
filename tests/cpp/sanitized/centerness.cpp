#include "fcos_ops/centerness.h"

#include "arrays.h"

namespace fuzz {
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
  const fcos_ops::Context context = random.context();
  require(fcos_ops::centerness_target(args, context));
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
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::centerness_loss_workspace_size(args, context));
  require(fcos_ops::centerness_loss(args, scratch.workspace(), context));
}

}  // namespace

void centerness(Random& random) {
  centerness_target(random);
  centerness_loss(random);
}

}  // namespace fuzz
