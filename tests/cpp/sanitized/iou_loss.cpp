#include "fcos_ops/iou_loss.h"

#include <cmath>

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::IouLossArgs& args) {
  const std::int64_t elements = args.batch * 4;
  breaks.views("pred", args.pred, args.num_levels, elements);
  breaks.views("target", args.target, args.num_levels, elements);
  breaks.optional_views("gradient", args.gradient, args.num_levels, elements);
  breaks.same_size("target", args.target, args.num_levels);
  breaks.same_size("gradient", args.gradient, args.num_levels);
  breaks.num_levels(args.num_levels);
  breaks.size("batch", args.batch);
  breaks.floating("pred_dtype", args.pred_dtype);
  breaks.floating("target_dtype", args.target_dtype);
  if (args.gradient) {
    breaks.floating("gradient_dtype", args.gradient_dtype);
    const bool is_half = args.pred_dtype == DType::kFloat16;
    breaks.field("gradient_dtype", args.gradient_dtype,
                 {is_half ? DType::kBFloat16 : DType::kFloat16});
  }
  breaks.enumerator("kind", args.kind);
  breaks.enumerator("box_format", args.box_format);
  breaks.field<double>("eps", args.eps, {-1.0, 0.0, 1e-39, 1e39, NAN, INFINITY});
  breaks.normalizer(args.normalizer);
}

namespace {

Map box_map(Random& random, const Style& style, DType dtype, std::int64_t count) {
  const std::vector<float> corners = random.boxes(count, 300);
  Map map(random, style, dtype, 1, 4, 1, count);
  for (std::int64_t i = 0; i < 4 * count; ++i) map.set(i % 4, i / 4, corners[i]);
  return map;
}

}  // namespace

void iou_loss(Random& random) {
  const std::int64_t count = random.integer(0, 700);
  const Style style(random);
  Map pred = box_map(random, style, floating(random), count);
  Map target = box_map(random, style, floating(random), count);
  const bool is_double = target.dtype() == DType::kFloat64 || pred.dtype() == DType::kFloat64;
  const DType maths = is_double ? DType::kFloat64 : DType::kFloat32;
  Map gradient(random, style, random.chance(0.5) ? pred.dtype() : maths, 1, 4, 1, count);
  Array losses(random, maths, count), weight = numbers(random, maths, count, 0, 2);
  Array sum(random, maths, 1), gradient_scale = numbers(random, maths, 1, 0, 3);
  Array divisor(random, maths, 1);
  const fcos_ops::LevelView pred_view = pred.view(), target_view = target.view();
  const fcos_ops::MutableLevelView slope = gradient.mutable_view();
  fcos_ops::IouLossArgs args;
  args.pred = &pred_view;
  args.target = &target_view;
  args.num_levels = 1;
  args.batch = 1;
  args.pred_dtype = pred.dtype();
  args.target_dtype = target.dtype();
  args.kind = static_cast<fcos_ops::IouKind>(random.integer(0, 4));
  args.box_format = static_cast<fcos_ops::BoxFormat>(random.integer(0, 1));
  if (random.chance(0.5)) args.weight = weight.data();
  args.normalizer = normalizer(random, &divisor);
  if (random.chance(0.5)) args.gradient_scale = gradient_scale.data();
  args.loss_sum = sum.data();
  if (random.chance(0.5)) args.losses = losses.data();
  if (random.chance(0.5)) args.gradient = &slope;
  args.gradient_dtype = gradient.dtype();
  call(random, args, fcos_ops::iou_loss_workspace_size, fcos_ops::iou_loss);
}

}  // namespace fuzz
