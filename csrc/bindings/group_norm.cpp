#include "fcos_ops/group_norm.h"

#include <array>

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

// The maps, weight and bias: of one batch, number of channels and floating dtype.
template <class Args>
Tensors read_maps(Arguments& in, std::array<LevelView, kMaxLevels>& views, Args& args) {
  const Tensors maps = in.tensors("maps");
  if (maps.count == 0) raise(PyExc_ValueError, "maps must hold at least one tensor, got none");
  args.maps = map_views(maps, views);
  const Tensor& first = maps.levels[0];
  args.num_levels = maps.count;
  args.batch = first.size(0);
  args.channels = first.size(1);
  args.dtype = first.dtype();
  for (std::int32_t i = 0; i < maps.count; ++i) {
    const Tensor& map = maps.levels[i];
    map.expect_sizes({args.batch, args.channels, map.size(2), map.size(3)});
    map.expect_dtype(kFloating & only(args.dtype));
  }
  args.weight = in.values("weight", maths_of(args.dtype), args.channels);
  args.bias = in.values("bias", maths_of(args.dtype), args.channels);
  args.groups = in.integer("groups");
  if (args.groups < 1 || args.channels % args.groups != 0) {
    raise(PyExc_ValueError, "groups must be at least 1 and divide " +
                                std::to_string(args.channels) + " channels, got " +
                                std::to_string(args.groups));
  }
  return maps;
}

// [num_levels, batch, groups, 2], or too many to count.
template <class Args>
double* read_statistics(Arguments& in, const Args& args) {
  std::int64_t count = 2 * args.num_levels;
  if (__builtin_mul_overflow(count, args.batch, &count) ||
      __builtin_mul_overflow(count, args.groups, &count)) {
    raise(PyExc_ValueError, "statistics must be [maps, batch, groups, 2] numbers of 64 bits");
  }
  return in.values<double>("statistics", DType::kFloat64, count);
}

}  // namespace

std::size_t bound_group_norm(Arguments& in) {
  GroupNormArgs args;
  std::array<LevelView, kMaxLevels> views;
  std::array<MutableLevelView, kMaxLevels> normalized_views;
  const Tensors maps = read_maps(in, views, args);
  args.eps = in.number("eps");
  args.activation = in.word<Activation>("activation", kActivations);
  args.normalized = read_like(in, "normalized", maps, "maps", normalized_views);
  args.statistics = read_statistics(in, args);
  return run(in, args, group_norm_workspace_size, group_norm);
}

std::size_t bound_group_norm_backward(Arguments& in) {
  GroupNormBackwardArgs args;
  std::array<LevelView, kMaxLevels> views, gradient_views;
  std::array<MutableLevelView, kMaxLevels> grad_map_views;
  const Tensors maps = read_maps(in, views, args);
  const DType maths = maths_of(args.dtype);
  args.activation = in.word<Activation>("activation", kActivations);
  args.statistics = read_statistics(in, args);
  args.grad_normalized = read_like(in, "grad_normalized", maps, "maps", gradient_views);
  args.grad_maps = read_like(in, "grad_maps", maps, "maps", grad_map_views);
  args.grad_weight = in.optional_values("grad_weight", maths, args.channels);
  args.grad_bias = in.optional_values("grad_bias", maths, args.channels);
  return run(in, args, group_norm_backward_workspace_size, group_norm_backward);
}

}  // namespace fcos_ops::bindings
