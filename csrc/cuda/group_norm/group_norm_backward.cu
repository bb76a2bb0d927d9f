// The gradient of group normalization on a GPU. See include/fcos_ops/group_norm.h for what it
// computes.
//
// As forward: levels by rows in two launches. In the first a block takes every so many-th tile of
// 128 locations and writes the sums of each group over it, and for all of its tiles those of each
// channel; in the second it adds up the sums of the groups of a map, in the order of the tiles, and
// writes the gradient. Other levels in one launch, a group a block. Where weight and bias have a
// gradient, a last kernel adds up the sums of the channels.
#include <algorithm>

#include "common/workspace.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/drivers.h"
#include "cuda/group_norm/planes.cuh"
#include "cuda/group_norm/rows.cuh"

namespace fcos_ops::cuda::norm {
namespace {

// Of a group: of weight * gradient, and of that times the centered x.
template <class Real>
struct GroupSums {
  Real gradient, product;
};

// Of a channel: what a block adds to the gradients of weight and bias.
template <class Real>
struct ParameterSums {
  Real weight, bias;
};

template <class Real>
struct SharedSums {
  GroupSums<Real> thread[kThreads];
  ParameterSums<Real> parameter[kThreads];
};

// Adds up what a thread's vectors of a tile give each of its channels.
template <class T, bool kRelu>
__device__ __forceinline__ void sum_tile(const TileColumn<LevelView>& maps,
                                         const TileColumn<LevelView>& gradients,
                                         const RowThread<T>& thread, std::int32_t count,
                                         const VectorNorm<T>& norm,
                                         math::Real<T> (&sums)[kVector<T>],
                                         math::Real<T> (&products)[kVector<T>]) {
  using Real = math::Real<T>;
  for (std::int32_t i = thread.row; i < count; i += thread.rows * kBackwardInFlight) {
    Vector<T> x[kBackwardInFlight], gradient[kBackwardInFlight];
#pragma unroll
    for (int k = 0; k < kBackwardInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
      x[k] = maps.template load<T>(i + k * thread.rows);
      gradient[k] = gradients.template load<T>(i + k * thread.rows);
    }
#pragma unroll
    for (int k = 0; k < kBackwardInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        const Real centered = norm.centered(read(x[k].element(j)));
        const Real g = math::before_activation<kRelu>(read(gradient[k].element(j)), centered,
                                                      norm.scale[j], norm.bias[j]);
        sums[j] += g;
        products[j] += g * centered;
      }
    }
  }
}

// groups: [tile, group]; parameters: [block, channel].
template <class T, bool kRelu>
__global__ void __launch_bounds__(kThreads, 2)
    group_norm_sums_kernel(Tiles tiles, Views<LevelView> maps, Views<LevelView> gradients,
                           NormArguments<math::Real<T>> args,
                           const math::GroupStatistics* statistics,
                           GroupSums<math::Real<T>>* groups,
                           ParameterSums<math::Real<T>>* parameters) {
  using Real = math::Real<T>;
  auto& shared = block_shared<SharedSums<Real>>();
  const RowThread<T> thread(args.channels);
  const std::int32_t columns = args.channels / kVector<T>, group_columns = columns / args.groups;
  Real weight_sums[kVector<T>] = {}, bias_sums[kVector<T>] = {};
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    const Tile tile = tiles[i];
    GroupSums<Real> own = {0, 0};
    if (thread.is_active) {
      const std::int32_t group = thread.channel() / args.per_group;
      const math::GroupStatistics stats = statistics[args.index(tile.level, tile.image, group)];
      VectorNorm<T> norm = {};
      norm.set(args, stats, thread.channel());
      Real sums[kVector<T>] = {}, products[kVector<T>] = {};
      sum_tile<T, kRelu>({maps.level[tile.level], tile, thread.channel()},
                         {gradients.level[tile.level], tile, thread.channel()}, thread,
                         static_cast<std::int32_t>(tile.end - tile.first), norm, sums, products);
      const auto inverse_deviation = static_cast<Real>(stats.inverse_deviation);
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        const Real weight = args.weight[thread.channel() + j];
        own.gradient += weight * sums[j];
        own.product += weight * products[j];
        weight_sums[j] += inverse_deviation * products[j];
        bias_sums[j] += sums[j];
      }
    }
    shared.thread[threadIdx.x] = own;
    __syncthreads();
    const std::int32_t group = threadIdx.x;
    if (group < args.groups) {
      GroupSums<Real> total = {0, 0};
      for (std::int32_t row = 0; row < thread.rows; ++row) {
        for (std::int32_t k = 0; k < group_columns; ++k) {
          const GroupSums<Real>& part = shared.thread[row * columns + group * group_columns + k];
          total.gradient += part.gradient;
          total.product += part.product;
        }
      }
      groups[i * args.groups + group] = total;
    }
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < kVector<T>; ++j) {
    shared.parameter[threadIdx.x] = {weight_sums[j], bias_sums[j]};
    __syncthreads();
    if (thread.row == 0) {
      ParameterSums<Real> total = {0, 0};
      for (std::int32_t row = 0; row < thread.rows; ++row) {
        total.weight += shared.parameter[row * columns + thread.column].weight;
        total.bias += shared.parameter[row * columns + thread.column].bias;
      }
      parameters[static_cast<std::int64_t>(blockIdx.x) * args.channels + thread.channel() + j] =
          total;
    }
    __syncthreads();
  }
}

template <class Real>
struct MergedOffsets {
  GroupSums<double> part[kThreads];
  math::GradientOffsets<Real> group[kThreads];
};

// The offsets of the groups of a tile's map, in shared.group. All threads call it.
template <class Real>
__device__ __forceinline__ void merge_sums(const GroupSums<Real>* sums, const MapTiles& map,
                                           double elements, const math::GroupStatistics* statistics,
                                           const NormArguments<Real>& args,
                                           MergedOffsets<Real>& shared) {
  const MergeThread merge(args.groups);
  if (merge.part < merge.parts) {
    GroupSums<double> total = {0, 0};
    for (std::int64_t i = merge.part; i < map.count; i += merge.parts) {
      const GroupSums<Real> part = sums[(map.first + i) * args.groups + merge.group];
      total.gradient += part.gradient;
      total.product += part.product;
    }
    shared.part[threadIdx.x] = total;
  }
  __syncthreads();
  if (merge.part == 0) {
    GroupSums<double> total = shared.part[merge.group];
    for (std::int32_t part = 1; part < merge.parts; ++part) {
      total.gradient += shared.part[part * args.groups + merge.group].gradient;
      total.product += shared.part[part * args.groups + merge.group].product;
    }
    shared.group[merge.group] = math::gradient_offsets<Real>(
        statistics[merge.group].inverse_deviation, total.gradient, total.product, elements);
  }
  __syncthreads();
}

template <class T, bool kRelu>
__device__ __forceinline__ void write_tile(const TileColumn<LevelView>& maps,
                                           const TileColumn<LevelView>& gradients,
                                           const TileColumn<MutableLevelView>& to,
                                           const RowThread<T>& thread, std::int32_t count,
                                           const VectorNorm<T>& norm,
                                           const math::GradientOffsets<math::Real<T>>& offsets) {
  using Real = math::Real<T>;
  for (std::int32_t i = thread.row; i < count; i += thread.rows * kBackwardInFlight) {
    Vector<T> x[kBackwardInFlight], gradient[kBackwardInFlight];
#pragma unroll
    for (int k = 0; k < kBackwardInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
      x[k] = maps.template load<T>(i + k * thread.rows);
      gradient[k] = gradients.template load<T>(i + k * thread.rows);
    }
#pragma unroll
    for (int k = 0; k < kBackwardInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
      Real values[kVector<T>];
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        const Real centered = norm.centered(read(x[k].element(j)));
        const Real g = math::before_activation<kRelu>(read(gradient[k].element(j)), centered,
                                                      norm.scale[j], norm.bias[j]);
        values[j] = norm.scale[j] * g - (offsets.constant + offsets.slope * centered);
      }
      to.template store<T>(values, i + k * thread.rows);
    }
  }
}

template <class T, bool kRelu>
__global__ void __launch_bounds__(kThreads, 2)
    group_norm_gradient_kernel(Tiles tiles, Views<LevelView> maps, Views<LevelView> gradients,
                               Views<MutableLevelView> grad_maps, NormArguments<math::Real<T>> args,
                               const math::GroupStatistics* statistics,
                               const GroupSums<math::Real<T>>* sums) {
  using Real = math::Real<T>;
  auto& shared = block_shared<MergedOffsets<Real>>();
  const RowThread<T> thread(args.channels);
  const TileRange range(tiles.count());
  VectorNorm<T> norm = {};
  math::GradientOffsets<Real> offsets = {0, 0};
  std::int64_t map_first = -1;  // of the map that `norm` and `offsets` are of
  for (std::int64_t i = range.end - 1; i >= range.first; --i) {
    const Tile tile = tiles[i];
    const LevelView& view = maps.level[tile.level];
    const std::int64_t locations = view.height * view.width;
    const MapTiles map(i, tile, locations);
    if (map.first != map_first) {
      map_first = map.first;
      __syncthreads();  // the offsets of the map before have been read
      const math::GroupStatistics* const own = statistics + args.index(tile.level, tile.image, 0);
      merge_sums(sums, map, static_cast<double>(locations * args.per_group), own, args, shared);
      if (thread.is_active) {
        const std::int32_t group = thread.channel() / args.per_group;
        norm.set(args, own[group], thread.channel());
        offsets = shared.group[group];
      }
    }
    if (!thread.is_active) continue;
    write_tile<T, kRelu>({view, tile, thread.channel()},
                         {gradients.level[tile.level], tile, thread.channel()},
                         {grad_maps.level[tile.level], tile, thread.channel()}, thread,
                         static_cast<std::int32_t>(tile.end - tile.first), norm, offsets);
  }
}

// parameters: [level and image, channel].
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
  const std::int64_t pair = blockIdx.x / static_cast<unsigned>(args.groups);
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
      parameters[pair * args.channels + c] = {
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
      write(norm.scale * g - (offsets.constant + offsets.slope * centered), to[i]);
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
struct Sums {
  std::int64_t row_blocks, rows;    // rows of `parameters`: blocks, then pairs in planes
  GroupSums<Real>* groups;          // [tile, group]
  ParameterSums<Real>* parameters;  // [rows, channel]

  Sums(const GroupNormBackwardArgs& args, const Partition& partition, DeviceArena& arena)
      : row_blocks(std::min(partition.tiles.count(), kBlocks)),
        rows(row_blocks + partition.num_planes * args.batch),
        groups(arena.take<GroupSums<Real>>(partition.tiles.count() * args.groups)),
        parameters(arena.take<ParameterSums<Real>>(rows * args.channels)) {}
};

Partition partition_of_all(const GroupNormBackwardArgs& args) {
  return partition_of(args, args.grad_normalized, args.grad_maps);
}

template <class T, bool kRelu>
Status run(const GroupNormBackwardArgs& args, const Partition& partition,
           const Sums<math::Real<T>>& sums, const Context& context) {
  using Real = math::Real<T>;
  const auto arguments = NormArguments<Real>::of(args);
  const auto maps = views_of(args.maps, args.num_levels);
  const auto gradients = views_of(args.grad_normalized, args.num_levels);
  const auto grad_maps = views_of(args.grad_maps, args.num_levels);
  const auto* const statistics = reinterpret_cast<const math::GroupStatistics*>(args.statistics);
  const auto blocks = static_cast<unsigned>(sums.row_blocks);
  Status status =
      launch("group_norm_sums_kernel", group_norm_sums_kernel<T, kRelu>, blocks, kThreads, context,
             partition.tiles, maps, gradients, arguments, statistics, sums.groups, sums.parameters);
  if (status.ok() && args.grad_maps) {
    status = launch("group_norm_gradient_kernel", group_norm_gradient_kernel<T, kRelu>, blocks,
                    kThreads, context, partition.tiles, maps, gradients, grad_maps, arguments,
                    statistics, static_cast<const GroupSums<Real>*>(sums.groups));
  }
  if (status.ok()) {
    status =
        launch("group_norm_planes_gradient_kernel", group_norm_planes_gradient_kernel<T, kRelu>,
               static_cast<unsigned>(plane_blocks(args, partition)), kThreads, context, partition,
               maps, gradients, grad_maps, args.grad_maps != nullptr, arguments, statistics,
               sums.parameters + sums.row_blocks * args.channels);
  }
  if (!status.ok() || (args.grad_weight == nullptr && args.grad_bias == nullptr)) return status;
  const std::int64_t finish_blocks = (args.channels + kParameterChannels - 1) / kParameterChannels;
  return launch("group_norm_parameters_kernel", group_norm_parameters_kernel<Real>,
                static_cast<unsigned>(finish_blocks), kThreads, context,
                static_cast<const ParameterSums<Real>*>(sums.parameters), sums.rows,
                arguments.channels, static_cast<Real*>(args.grad_weight),
                static_cast<Real*>(args.grad_bias));
}

}  // namespace
}  // namespace fcos_ops::cuda::norm

namespace fcos_ops::cuda {

std::size_t group_norm_backward_workspace_size(const GroupNormBackwardArgs& args, const Context&) {
  const norm::Partition partition = norm::partition_of_all(args);
  return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
    DeviceArena arena(nullptr);
    const norm::Sums<typename decltype(real)::type> sums(args, partition, arena);
    static_cast<void>(sums);
    return arena.size();
  });
}

Status group_norm_backward(const GroupNormBackwardArgs& args, Workspace workspace,
                           const Context& context) {
  return on_device(context, [&]() -> Status {
    const norm::Partition partition = norm::partition_of_all(args);
    if (norm::plane_blocks(args, partition) > kMaxBlocks) {
      return too_large("group_norm_backward: too many groups");
    }
    return math::dispatch(math::Floating{}, args.dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      DeviceArena arena(workspace.data);
      const norm::Sums<math::Real<T>> sums(args, partition, arena);
      return norm::with_activation(args.activation, [&](auto relu) {
        return norm::run<T, decltype(relu)::value>(args, partition, sums, context);
      });
    });
  });
}

}  // namespace fcos_ops::cuda
