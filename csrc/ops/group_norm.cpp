// Group normalization: checks, then the driver of the device.
#include "fcos_ops/group_norm.h"

#include <algorithm>

#include "ops/op.h"

namespace fcos_ops {
namespace {

// True if the views have data and the sizes of the maps.
template <class Args, class View>
bool are_of_maps(const Args& args, const View* views) {
  return are_views(views, args.maps, args.num_levels, args.batch * args.channels);
}

template <class Args>
bool has_elements(const Args& args) {
  return count_rows(args.maps, args.num_levels) * args.batch * args.channels > 0;
}

bool is_group_count(std::int64_t groups, std::int64_t channels) {
  return groups >= 1 && channels % groups == 0 && groups <= std::max<std::int64_t>(channels, 1);
}

Status check_sizes(const GroupNormArgs& args) {
  return require({
      {is_level_count(args.num_levels), "group_norm: num_levels must be in [0, kMaxLevels]"},
      {is_class_count(args.channels), "group_norm: channels must be in [0, kMaxClasses]"},
      {are_levels(args.maps, args.num_levels, args.batch, args.channels),
       "group_norm: maps must be given; batch and sizes must be >= 0, at most kMaxElements in all"},
      {is_group_count(args.groups, args.channels),
       "group_norm: groups must be at least 1 and divide channels"},
      {are_sizes({args.num_levels, args.batch, args.groups, 2}),
       "group_norm: groups must be at most kMaxElements in all"},
      {is_floating(args.dtype), "group_norm: dtype must be floating"},
  });
}

Status check_arguments(const GroupNormArgs& args) {
  return require({
      {are_of_maps(args, args.maps), "group_norm: maps must have data"},
      {are_of_maps(args, args.normalized),
       "group_norm: normalized must have data and the sizes of the maps"},
      {!has_elements(args) || (args.weight && args.bias),
       "group_norm: weight and bias must be given"},
      {args.num_levels * args.batch == 0 || args.statistics,
       "group_norm: statistics must be given"},
      {is_norm_eps(args.eps), "group_norm: eps must be in [0, 3e38]"},
      {is_enumerator(args.activation, Activation::kRelu),
       "group_norm: activation must be one of Activation"},
  });
}

Status check_backward_sizes(const GroupNormBackwardArgs& args) {
  return require({
      {is_level_count(args.num_levels),
       "group_norm_backward: num_levels must be in [0, kMaxLevels]"},
      {is_class_count(args.channels), "group_norm_backward: channels must be in [0, kMaxClasses]"},
      {are_levels(args.maps, args.num_levels, args.batch, args.channels),
       "group_norm_backward: maps must be given; batch and sizes must be >= 0, at most "
       "kMaxElements in all"},
      {is_group_count(args.groups, args.channels),
       "group_norm_backward: groups must be at least 1 and divide channels"},
      {are_sizes({args.num_levels, args.batch, args.groups, 2}),
       "group_norm_backward: groups must be at most kMaxElements in all"},
      {is_floating(args.dtype), "group_norm_backward: dtype must be floating"},
  });
}

Status check_backward_arguments(const GroupNormBackwardArgs& args) {
  return require({
      {are_of_maps(args, args.maps), "group_norm_backward: maps must have data"},
      {are_of_maps(args, args.grad_normalized),
       "group_norm_backward: grad_normalized must have data and the sizes of the maps"},
      {args.grad_maps == nullptr || are_of_maps(args, args.grad_maps),
       "group_norm_backward: grad_maps must have data and the sizes of the maps"},
      {!has_elements(args) || (args.weight && args.bias && args.statistics),
       "group_norm_backward: weight, bias and statistics must be given"},
      {is_enumerator(args.activation, Activation::kRelu),
       "group_norm_backward: activation must be one of Activation"},
  });
}

constexpr Op<GroupNormArgs> kForward = {"group_norm: workspace must be as its query says",
                                        "group_norm: this library was built without CUDA",
                                        {check_sizes, check_arguments}};

constexpr Op<GroupNormBackwardArgs> kBackward = {
    "group_norm_backward: workspace must be as its query says",
    "group_norm_backward: this library was built without CUDA",
    {check_backward_sizes, check_backward_arguments}};

}  // namespace

std::size_t group_norm_workspace_size(const GroupNormArgs& args, const Context& context) {
  return kForward.workspace_size(args, context);
}

Status group_norm(const GroupNormArgs& args, Workspace workspace, const Context& context) {
  return kForward.run(args, workspace, context);
}

std::size_t group_norm_backward_workspace_size(const GroupNormBackwardArgs& args,
                                               const Context& context) {
  return kBackward.workspace_size(args, context);
}

Status group_norm_backward(const GroupNormBackwardArgs& args, Workspace workspace,
                           const Context& context) {
  return kBackward.run(args, workspace, context);
}

}  // namespace fcos_ops
