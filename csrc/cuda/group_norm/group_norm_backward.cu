// The gradient of group normalization on a GPU. See include/fcos_ops/group_norm.h for what it
// computes.
//
// As forward: levels by rows in two steps, of one cooperative launch or two (forms.cuh). A block
// takes a tile and writes the sums of each group over it, and for all of its tiles those of each
// channel; the sums of the groups of a map are added up, in the order of the tiles, and the
// gradient is written. Other levels in one launch, a group a block. Where weight and bias have a
// gradient, a last kernel adds up the sums of the channels.
#include "common/workspace.h"
#include "cuda/drivers.h"
#include "cuda/group_norm/backward_rows.cuh"
#include "cuda/group_norm/forms.cuh"
#include "cuda/group_norm/planes.cuh"

namespace fcos_ops::cuda::norm {
namespace {

template <class V, bool kRelu>
__global__ void __launch_bounds__(kThreads, kBlocks)
    group_norm_sums_kernel(BackwardArguments<typename V::Element> in) {
  BackwardRows<V, kRelu> rows(in);
  rows.clear_parameters();
  reduce_tiles(rows, in.tiles);
  rows.write_parameters();
}

template <class V, bool kRelu>
__global__ void __launch_bounds__(kThreads, kBlocks)
    group_norm_gradient_kernel(BackwardArguments<typename V::Element> in) {
  BackwardRows<V, kRelu> rows(in);
  finish_tiles(rows, in.tiles);
}

template <class V, bool kRelu>
__global__ void __launch_bounds__(kThreads, kBlocks)
    group_norm_cooperative_gradient_kernel(BackwardArguments<typename V::Element> in,
                                           Waiting waiting) {
  BackwardRows<V, kRelu> rows(in);
  rows.clear_parameters();
  run_cooperative(rows, in.tiles, waiting);
  rows.write_parameters();
}

// parameters: [pair, channel].
template <class T, bool kRelu>
__global__ void __launch_bounds__(kThreads, 1)
    group_norm_planes_gradient_kernel(Partition partition, Views<LevelView> maps,
                                      Views<LevelView> gradients, Views<MutableLevelView> grad_maps,
                                      bool has_grad_maps, NormArguments<math::Real<T>> args,
                                      const math::GroupStatistics* statistics,
                                      ParameterSums<math::Real<T>>* parameters) {
  using Real = math::Real<T>;
  const PlaneGroup own(partition, args);
  const LevelView& view = maps.level[own.level];
  const LevelView& gradient_view = gradients.level[own.level];
  const std::int64_t locations = view.height * view.width;
  const std::int32_t end = own.first_channel + args.per_group;
  const math::GroupStatistics group = statistics[args.index(own.level, own.image, own.group)];
  double sum = 0, product_sum = 0;  // of weight * gradient, over the group
  for (std::int32_t c = own.first_channel; c < end; ++c) {
    const auto norm = math::channel_norm(group, args.weight[c], args.bias[c]);
    const Plane<T, LevelView> from(view, own.image, c), gradient(gradient_view, own.image, c);
    double channel_sum = 0, channel_product = 0;
    for (std::int64_t i = threadIdx.x; i < locations; i += kThreads) {
      const Real centered = norm.centered(read(from[i]));
      const Real g =
          math::before_activation<kRelu>(read(gradient[i]), centered, norm.scale, norm.bias);
      channel_sum += g;
      channel_product += g * centered;
    }
    channel_sum = sum_for_all<0>(channel_sum);
    channel_product = sum_for_all<1>(channel_product);
    sum += static_cast<double>(args.weight[c]) * channel_sum;
    product_sum += static_cast<double>(args.weight[c]) * channel_product;
    if (threadIdx.x == 0) {
      parameters[own.pair * args.channels + c] = {
          static_cast<Real>(group.inverse_deviation * channel_product),
          static_cast<Real>(channel_sum)};
    }
  }
  if (!has_grad_maps || locations == 0) return;
  const auto offsets = math::gradient_offsets<Real>(
      group.inverse_deviation, sum, product_sum, static_cast<double>(locations * args.per_group));
  for (std::int32_t c = own.first_channel; c < end; ++c) {
    const auto norm = math::channel_norm(group, args.weight[c], args.bias[c]);
    const Plane<T, LevelView> from(view, own.image, c), gradient(gradient_view, own.image, c);
    const Plane<T, MutableLevelView> to(grad_maps.level[own.level], own.image, c);
    for (std::int64_t i = threadIdx.x; i < locations; i += kThreads) {
      const Real centered = norm.centered(read(from[i]));
      const Real g =
          math::before_activation<kRelu>(read(gradient[i]), centered, norm.scale, norm.bias);
      write(math::gradient_by_x(g, centered, norm.scale, offsets.constant, offsets.slope), to[i]);
    }
  }
}

inline constexpr std::int32_t kParameterChannels = 32;  // of a block; a warp reads neighbours

struct SharedParameters {
  ParameterSums<double> thread[kThreads];
};

// Adds up `rows` rows of [channel] sums; gradients that are null are not wanted.
template <class Real>
__global__ void __launch_bounds__(kThreads, 1)
    group_norm_parameters_kernel(const ParameterSums<Real>* sums, std::int64_t rows,
                                 std::int32_t channels, Real* grad_weight, Real* grad_bias) {
  auto& shared = block_shared<SharedParameters>();
  constexpr std::int32_t kParts = kThreads / kParameterChannels;
  const auto column = static_cast<std::int32_t>(threadIdx.x % kParameterChannels);
  const auto part = static_cast<std::int32_t>(threadIdx.x / kParameterChannels);
  const std::int32_t channel = blockIdx.x * kParameterChannels + column;
  ParameterSums<double> total = {0, 0};
  if (channel < channels) {
    for (std::int64_t row = part; row < rows; row += kParts) {
      total.weight += sums[row * channels + channel].weight;
      total.bias += sums[row * channels + channel].bias;
    }
  }
  shared.thread[threadIdx.x] = total;
  __syncthreads();
  if (part != 0 || channel >= channels) return;
  for (std::int32_t i = 1; i < kParts; ++i) {
    total.weight += shared.thread[i * kParameterChannels + column].weight;
    total.bias += shared.thread[i * kParameterChannels + column].bias;
  }
  if (grad_weight) grad_weight[channel] = static_cast<Real>(total.weight);
  if (grad_bias) grad_bias[channel] = static_cast<Real>(total.bias);
}

// What the workspace holds.
template <class Real>
struct Work {
  Work(void* memory, const GroupNormBackwardArgs& args, const Context& context) {
    DeviceArena arrays(memory);
    const Tiles tiles = tiles_at_most(args, context);
    const std::int64_t sums = row_blocks(tiles, kBlocks, context) + tiles.maps();
    groups = arrays.take<GroupSums<Real>>(tiles.count() * args.groups);
    offsets = arrays.take<math::GradientOffsets<Real>>(tiles.maps() * args.groups);
    parameters = arrays.take<ParameterSums<Real>>(sums * args.channels);
    counters = arrays.take<std::uint32_t>(2 * tiles.maps());
    size = arrays.size();
  }

  GroupSums<Real>* groups;               // [tile, group]
  math::GradientOffsets<Real>* offsets;  // [level, image, group]
  ParameterSums<Real>* parameters;  // [blocks by rows, then level and image in planes; channel]
  std::uint32_t* counters;          // of launch_in_one()
  std::size_t size;
};

// has_grad_maps: else parameters alone are wanted, for which one step suffices.
template <class V, bool kRelu>
Status run_rows(const BackwardArguments<typename V::Element>& in, bool has_grad_maps,
                std::int64_t blocks, std::uint32_t* counters, const Context& context) {
  if (blocks == 0) return {};
  const auto grid = static_cast<unsigned>(blocks);
  Status status = {kCooperativeTooLarge, ""};
  if (has_grad_maps) {
    status = launch_in_one("group_norm_cooperative_gradient_kernel",
                           group_norm_cooperative_gradient_kernel<V, kRelu>, blocks, context,
                           counters, in);
  }
  if (status.code != kCooperativeTooLarge) return status;
  status = launch("group_norm_sums_kernel", group_norm_sums_kernel<V, kRelu>, grid, kThreads,
                  context, in);
  if (!status.ok() || !has_grad_maps) return status;
  return launch("group_norm_gradient_kernel", group_norm_gradient_kernel<V, kRelu>, grid, kThreads,
                context, in);
}

template <class T, bool kRelu>
Status run(const GroupNormBackwardArgs& args, const Partition& partition, Workspace workspace,
           const Context& context) {
  using Real = math::Real<T>;
  const Work<Real> work(workspace.data, args, context);
  const std::int64_t blocks = row_blocks(partition.tiles, kBlocks, context);
  const BackwardArguments<T> in = {
      partition.tiles,
      views_of(args.maps, args.num_levels),
      views_of(args.grad_normalized, args.num_levels),
      views_of(args.grad_maps, args.num_levels),
      NormArguments<Real>::of(args),
      reinterpret_cast<const math::GroupStatistics*>(args.statistics),
      work.groups,
      work.offsets,
      work.parameters,
  };
  const bool has_grad_maps = args.grad_maps != nullptr;
  Status status = with_vectors<T>(partition, [&](auto vector) {
    return run_rows<decltype(vector), kRelu>(in, has_grad_maps, blocks, work.counters, context);
  });
  if (status.ok()) {
    status =
        launch("group_norm_planes_gradient_kernel", group_norm_planes_gradient_kernel<T, kRelu>,
               static_cast<unsigned>(plane_blocks(args, partition)), kThreads, context, partition,
               in.maps, in.gradients, in.grad_maps, has_grad_maps, in.norm, in.statistics,
               work.parameters + blocks * args.channels);
  }
  if (!status.ok() || (args.grad_weight == nullptr && args.grad_bias == nullptr)) return status;
  const std::int64_t finish_blocks = (args.channels + kParameterChannels - 1) / kParameterChannels;
  return launch("group_norm_parameters_kernel", group_norm_parameters_kernel<Real>,
                static_cast<unsigned>(finish_blocks), kThreads, context,
                static_cast<const ParameterSums<Real>*>(work.parameters),
                blocks + partition.num_planes * args.batch, in.norm.channels,
                static_cast<Real*>(args.grad_weight), static_cast<Real*>(args.grad_bias));
}

}  // namespace
}  // namespace fcos_ops::cuda::norm

namespace fcos_ops::cuda {

std::size_t workspace_size(const GroupNormBackwardArgs& args, const Context& context) {
  return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
    return norm::Work<typename decltype(real)::type>(nullptr, args, context).size;
  });
}

Status run(const GroupNormBackwardArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    const norm::Partition partition =
        norm::partition_of(args, context, args.grad_normalized, args.grad_maps);
    if (norm::plane_blocks(args, partition) > kMaxBlocks) {
      return too_large("group_norm_backward: too many groups");
    }
    return math::dispatch(math::Floating{}, args.dtype, [&](auto type) {
      return with_activation(args.activation, [&](auto relu) {
        return norm::run<typename decltype(type)::type, decltype(relu)::value>(args, partition,
                                                                               workspace, context);
      });
    });
  });
}

}  // namespace fcos_ops::cuda
