#include "fcos_ops/group_norm.h"

#include <cmath>

#include "calls.h"

namespace fuzz {
namespace {

// What both directions have.
template <class Args>
void list_common_breaks(Breaks& breaks, Args& args) {
  const std::int64_t elements = args.batch * args.channels;
  breaks.views("maps", args.maps, args.num_levels, elements);
  breaks.num_levels(args.num_levels);
  breaks.size("batch", args.batch);
  breaks.size("channels", args.channels);
  breaks.field<std::int64_t>("groups", args.groups, {0, -1, args.channels + 1, INT64_MIN});
  breaks.floating("dtype", args.dtype);
  breaks.enumerator("activation", args.activation);
  const bool filled = elements * args.maps->height * args.maps->width > 0;
  breaks.pointer("weight", args.weight, filled);
  breaks.pointer("bias", args.bias, filled);
}

}  // namespace

void list_breaks(Breaks& breaks, fcos_ops::GroupNormArgs& args) {
  list_common_breaks(breaks, args);
  breaks.views("normalized", args.normalized, args.num_levels, args.batch * args.channels);
  breaks.same_size("normalized", args.normalized, args.num_levels);
  breaks.pointer("statistics", args.statistics, args.batch > 0);
  breaks.field<double>("eps", args.eps, {-1.0, 1e39, NAN, INFINITY});
}

void list_breaks(Breaks& breaks, fcos_ops::GroupNormBackwardArgs& args) {
  const std::int64_t elements = args.batch * args.channels;
  list_common_breaks(breaks, args);
  breaks.views("grad_normalized", args.grad_normalized, args.num_levels, elements);
  breaks.same_size("grad_normalized", args.grad_normalized, args.num_levels);
  breaks.optional_views("grad_maps", args.grad_maps, args.num_levels, elements);
  breaks.same_size("grad_maps", args.grad_maps, args.num_levels);
  breaks.pointer("statistics", args.statistics,
                 elements * args.maps->height * args.maps->width > 0);
}

void group_norm(Random& random) {
  const std::int64_t groups = random.integer(1, 4), channels = groups * random.integer(1, 9);
  const std::int64_t batch = random.integer(0, 2);
  const std::int64_t height = random.integer(0, 14), width = random.integer(0, 20);
  const Style style(random);
  const DType dtype = floating(random), maths = maths_of(dtype);
  Map map(random, style, dtype, batch, channels, height, width);
  Map normalized(random, style, dtype, batch, channels, height, width);
  Map gradient(random, style, dtype, batch, channels, height, width);
  Map grad_map(random, style, dtype, batch, channels, height, width);
  map.fill(random, -5, 9);
  gradient.fill(random, -2, 2);
  Array weight = numbers(random, maths, channels, -2, 2);
  Array bias = numbers(random, maths, channels, -2, 2);
  Array statistics(DType::kFloat64, batch * groups * 2, 0);
  const fcos_ops::LevelView view = map.view(), gradient_view = gradient.view();
  const fcos_ops::MutableLevelView result = normalized.mutable_view();
  const fcos_ops::MutableLevelView slope = grad_map.mutable_view();
  fcos_ops::GroupNormArgs args;
  args.maps = &view;
  args.num_levels = 1;
  args.batch = batch;
  args.channels = channels;
  args.groups = groups;
  args.dtype = dtype;
  args.weight = weight.data();
  args.bias = bias.data();
  args.activation = static_cast<fcos_ops::Activation>(random.integer(0, 1));
  args.normalized = &result;
  args.statistics = static_cast<double*>(statistics.data());
  call(random, args, fcos_ops::group_norm_workspace_size, fcos_ops::group_norm);

  Array grad_weight(random, maths, channels), grad_bias(random, maths, channels);
  fcos_ops::GroupNormBackwardArgs back;
  back.maps = args.maps;
  back.num_levels = args.num_levels;
  back.batch = batch;
  back.channels = channels;
  back.groups = groups;
  back.dtype = dtype;
  back.weight = args.weight;
  back.bias = args.bias;
  back.activation = args.activation;
  back.statistics = args.statistics;
  back.grad_normalized = &gradient_view;
  if (random.chance(0.7)) back.grad_maps = &slope;
  if (random.chance(0.7)) back.grad_weight = grad_weight.data();
  if (random.chance(0.7)) back.grad_bias = grad_bias.data();
  call(random, back, fcos_ops::group_norm_backward_workspace_size, fcos_ops::group_norm_backward);
}

}  // namespace fuzz
