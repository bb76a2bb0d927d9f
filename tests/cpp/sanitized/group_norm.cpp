#include "fcos_ops/group_norm.h"

#include <cmath>

#include "calls.h"

namespace fuzz {
namespace {

template <class Args>
bool has_elements(const Args& args) {
  std::int64_t locations = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    locations += args.maps[i].height * args.maps[i].width;
  }
  return args.batch * args.channels * locations > 0;
}

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
  const bool filled = has_elements(args);
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
  breaks.pointer("statistics", args.statistics, has_elements(args));
}

void group_norm(Random& random) {
  const std::int64_t groups = random.integer(1, 4), channels = groups * random.integer(1, 9);
  const std::int64_t batch = random.integer(0, 2), num_levels = random.integer(1, 4);
  const DType dtype = floating(random), maths = maths_of(dtype);
  Maps maps, normalized, gradients, grad_maps;
  for (std::int64_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = random.integer(0, 14), width = random.integer(0, 20);
    const Style style(random);
    for (Maps* of : {&maps, &normalized, &gradients, &grad_maps}) {
      of->add(Map(random, style, dtype, batch, channels, height, width));
    }
    maps.maps.back().fill(random, -5, 9);
    gradients.maps.back().fill(random, -2, 2);
  }
  Array weight = numbers(random, maths, channels, -2, 2);
  Array bias = numbers(random, maths, channels, -2, 2);
  Array statistics(DType::kFloat64, num_levels * batch * groups * 2, 0);
  fcos_ops::GroupNormArgs args;
  args.maps = maps.views.data();
  args.num_levels = static_cast<std::int32_t>(num_levels);
  args.batch = batch;
  args.channels = channels;
  args.groups = groups;
  args.dtype = dtype;
  args.weight = weight.data();
  args.bias = bias.data();
  args.activation = static_cast<fcos_ops::Activation>(random.integer(0, 1));
  args.normalized = normalized.mutable_views.data();
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
  back.grad_normalized = gradients.views.data();
  if (random.chance(0.7)) back.grad_maps = grad_maps.mutable_views.data();
  if (random.chance(0.7)) back.grad_weight = grad_weight.data();
  if (random.chance(0.7)) back.grad_bias = grad_bias.data();
  call(random, back, fcos_ops::group_norm_backward_workspace_size, fcos_ops::group_norm_backward);
}

}  // namespace fuzz
