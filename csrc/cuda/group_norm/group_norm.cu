// Group normalization on a GPU. See include/fcos_ops/group_norm.h for what it computes.
//
// Levels by rows (rows.cuh), all in two launches: in the first a block takes a tile of 128
// locations and writes the moments of each group over it; in the second it adds up those of the
// tiles of a map, in their order, and normalizes its tiles. Each reads the maps once, the second
// much of them from the cache. Other levels (planes.cuh) in one launch: a block takes a group,
// moments and result.
#include <algorithm>

#include "cuda/drivers.h"
#include "cuda/group_norm/planes.cuh"
#include "cuda/group_norm/rows.cuh"

namespace fcos_ops::cuda::norm {
namespace {

template <class Real>
struct ThreadMoments {
  math::Moments<Real> thread[kThreads];
};

// Moments of this thread's elements of a tile; its base is the first of them.
template <class T, class View>
__device__ __forceinline__ math::Moments<math::Real<T>> tile_moments(const TileColumn<View>& from,
                                                                     const RowThread<T>& thread,
                                                                     std::int32_t count) {
  using Real = math::Real<T>;
  Real base = 0, sum = 0, squares = 0;
  for (std::int32_t i = thread.row; i < count; i += thread.rows * kInFlight) {
    Vector<T> vectors[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      if (i + k * thread.rows < count) vectors[k] = from.template load<T>(i + k * thread.rows);
    }
    if (i == thread.row) base = read(vectors[0].element(0));
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        const Real difference = read(vectors[k].element(j)) - base;
        sum += difference;
        squares += difference * difference;
      }
    }
  }
  const std::int32_t locations = thread.locations(thread.row, count);
  if (locations == 0) return {};
  return math::moments_of_sums(base, sum, squares, static_cast<Real>(locations * kVector<T>));
}

// moments: [tile, group].
template <class T>
__global__ void __launch_bounds__(kThreads, 3)
    group_norm_moments_kernel(Tiles tiles, Views<LevelView> maps, NormArguments<math::Real<T>> args,
                              math::Moments<math::Real<T>>* moments) {
  using Real = math::Real<T>;
  auto& shared = block_shared<ThreadMoments<Real>>();
  const RowThread<T> thread(args.channels);
  const std::int32_t columns = args.channels / kVector<T>, group_columns = columns / args.groups;
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    const Tile tile = tiles[i];
    const auto count = static_cast<std::int32_t>(tile.end - tile.first);
    if (thread.is_active) {
      const TileColumn<LevelView> from(maps.level[tile.level], tile, thread.channel());
      shared.thread[threadIdx.x] = tile_moments(from, thread, count);
    }
    __syncthreads();
    const std::int32_t group = threadIdx.x;
    if (group < args.groups) {
      const math::Moments<Real>* first = shared.thread + group * group_columns;
      math::MergedMoments<Real> merged(first->base, first->offset);
      for (std::int32_t row = 0; row < thread.rows; ++row) {
        const auto elements = static_cast<Real>(thread.locations(row, count) * kVector<T>);
        if (elements == Real(0)) break;
        for (std::int32_t k = 0; k < group_columns; ++k) {
          merged.add(first[row * columns + k], elements);
        }
      }
      moments[i * args.groups + group] = merged.moments();
    }
    __syncthreads();
  }
}

struct MergedGroups {
  math::MomentSums<double> part[kThreads];
  math::GroupStatistics group[kThreads];
};

// The statistics of the groups of the map of a tile, in shared.group. All threads call it.
template <class Real>
__device__ __forceinline__ void merge_moments(const math::Moments<Real>* moments,
                                              const MapTiles& map, std::int64_t locations,
                                              const NormArguments<Real>& args, double eps,
                                              MergedGroups& shared) {
  const MergeThread merge(args.groups);
  const math::Moments<Real>* const own = moments + map.first * args.groups + merge.group;
  math::MergedMoments<double> merged(own->base, own->offset);
  if (merge.part < merge.parts) {
    for (std::int64_t i = merge.part; i < map.count; i += merge.parts) {
      const std::int64_t left = locations - i * kTile, length = left < kTile ? left : kTile;
      merged.add(own[i * args.groups], static_cast<double>(length * args.per_group));
    }
    shared.part[threadIdx.x] = merged.sums();
  }
  __syncthreads();
  if (merge.part == 0) {
    for (std::int32_t part = 1; part < merge.parts; ++part) {
      merged.add(shared.part[part * args.groups + merge.group]);
    }
    shared.group[merge.group] = math::group_statistics(
        merged.moments(), static_cast<double>(locations * args.per_group), eps);
  }
  __syncthreads();
}

template <class T, bool kRelu>
__device__ __forceinline__ void normalize_tile(const TileColumn<LevelView>& from,
                                               const TileColumn<MutableLevelView>& to,
                                               const RowThread<T>& thread, std::int32_t count,
                                               const VectorNorm<T>& norm) {
  for (std::int32_t i = thread.row; i < count; i += thread.rows * kInFlight) {
    Vector<T> vectors[kInFlight];
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      if (i + k * thread.rows < count) vectors[k] = from.template load<T>(i + k * thread.rows);
    }
#pragma unroll
    for (int k = 0; k < kInFlight; ++k) {
      if (i + k * thread.rows >= count) break;
      math::Real<T> values[kVector<T>];
#pragma unroll
      for (int j = 0; j < kVector<T>; ++j) {
        values[j] = math::normalized<kRelu>(norm.centered(read(vectors[k].element(j))),
                                            norm.scale[j], norm.bias[j]);
      }
      to.template store<T>(values, i + k * thread.rows);
    }
  }
}

template <class T, bool kRelu>
__global__ void __launch_bounds__(kThreads, 2)
    group_norm_normalize_kernel(Tiles tiles, Views<LevelView> maps,
                                Views<MutableLevelView> normalized,
                                NormArguments<math::Real<T>> args, double eps,
                                const math::Moments<math::Real<T>>* moments,
                                math::GroupStatistics* statistics) {
  auto& shared = block_shared<MergedGroups>();
  const RowThread<T> thread(args.channels);
  const TileRange range(tiles.count());
  VectorNorm<T> norm = {};
  std::int64_t map_first = -1;  // of the map that `norm` is of
  for (std::int64_t i = range.end - 1; i >= range.first; --i) {
    const Tile tile = tiles[i];
    const LevelView& view = maps.level[tile.level];
    const MapTiles map(i, tile, view.height * view.width);
    if (map.first != map_first) {
      map_first = map.first;
      __syncthreads();  // the statistics of the map before have been read
      merge_moments(moments, map, view.height * view.width, args, eps, shared);
      if (thread.is_active) {
        norm.set(args, shared.group[thread.channel() / args.per_group], thread.channel());
      }
    }
    const std::int32_t group = threadIdx.x;
    if (tile.first == 0 && group < args.groups) {
      statistics[args.index(tile.level, tile.image, group)] = shared.group[group];
    }
    if (!thread.is_active) continue;
    const TileColumn<LevelView> from(view, tile, thread.channel());
    const TileColumn<MutableLevelView> to(normalized.level[tile.level], tile, thread.channel());
    normalize_tile<T, kRelu>(from, to, thread, static_cast<std::int32_t>(tile.end - tile.first),
                             norm);
  }
}

template <class T, bool kRelu>
__global__ void __launch_bounds__(kThreads, 1)
    group_norm_planes_kernel(Partition partition, Views<LevelView> maps,
                             Views<MutableLevelView> normalized, NormArguments<math::Real<T>> args,
                             double eps, math::GroupStatistics* statistics) {
  using Real = math::Real<T>;
  const PlaneGroup own(partition, args);
  const LevelView& view = maps.level[own.level];
  const std::int64_t locations = view.height * view.width;
  math::GroupStatistics group = {0, 0};
  if (locations > 0 && args.per_group > 0) {
    const auto group_base = read(Plane<T, LevelView>(view, own.image, own.first_channel)[0]);
    Real base = 0, sum = 0, squares = 0;
    std::int64_t count = 0;
    for (std::int32_t c = 0; c < args.per_group; ++c) {
      const Plane<T, LevelView> plane(view, own.image, own.first_channel + c);
      for (std::int64_t i = threadIdx.x; i < locations; i += kThreads) {
        const Real x = read(plane[i]);
        if (count == 0) base = x;
        ++count;
        sum += x - base;
        squares += (x - base) * (x - base);
      }
    }
    math::MergedMoments<double> merged(group_base, 0);
    if (count > 0) {
      merged.add(math::moments_of_sums(base, sum, squares, static_cast<Real>(count)),
                 static_cast<double>(count));
    }
    const auto elements = static_cast<double>(locations * args.per_group);
    math::MergedMoments<double> all(group_base, 0);
    all.add({sum_for_all<0>(merged.sums().sum), sum_for_all<1>(merged.sums().squares), elements});
    group = math::group_statistics(all.moments(), elements, eps);
  }
  if (threadIdx.x == 0) statistics[args.index(own.level, own.image, own.group)] = group;
  for (std::int32_t c = own.first_channel; c < own.first_channel + args.per_group; ++c) {
    const auto norm = math::channel_norm(group, args.weight[c], args.bias[c]);
    const Plane<T, LevelView> from(view, own.image, c);
    const Plane<T, MutableLevelView> to(normalized.level[own.level], own.image, c);
    for (std::int64_t i = threadIdx.x; i < locations; i += kThreads) {
      write(math::normalized<kRelu>(norm.centered(read(from[i])), norm.scale, norm.bias), to[i]);
    }
  }
}

template <class T, bool kRelu>
Status run(const GroupNormArgs& args, const Partition& partition, Workspace workspace,
           const Context& context) {
  using Real = math::Real<T>;
  const auto arguments = NormArguments<Real>::of(args);
  const auto maps = views_of(args.maps, args.num_levels);
  const auto normalized = views_of(args.normalized, args.num_levels);
  auto* const statistics = reinterpret_cast<math::GroupStatistics*>(args.statistics);
  auto* const moments = static_cast<math::Moments<Real>*>(workspace.data);
  const std::int64_t tiles = partition.tiles.count();
  Status status = launch("group_norm_moments_kernel", group_norm_moments_kernel<T>,
                         static_cast<unsigned>(std::min(tiles, kMomentsBlocks)), kThreads, context,
                         partition.tiles, maps, arguments, moments);
  if (!status.ok()) return status;
  status = launch("group_norm_normalize_kernel", group_norm_normalize_kernel<T, kRelu>,
                  static_cast<unsigned>(std::min(tiles, kBlocks)), kThreads, context,
                  partition.tiles, maps, normalized, arguments, args.eps,
                  static_cast<const math::Moments<Real>*>(moments), statistics);
  if (!status.ok()) return status;
  return launch("group_norm_planes_kernel", group_norm_planes_kernel<T, kRelu>,
                static_cast<unsigned>(plane_blocks(args, partition)), kThreads, context, partition,
                maps, normalized, arguments, args.eps, statistics);
}

}  // namespace
}  // namespace fcos_ops::cuda::norm

namespace fcos_ops::cuda {

std::size_t group_norm_workspace_size(const GroupNormArgs& args, const Context&) {
  const norm::Partition partition = norm::partition_of(args, args.normalized);
  const auto count = static_cast<std::size_t>(partition.tiles.count() * args.groups);
  return count * (args.dtype == DType::kFloat64 ? sizeof(math::Moments<double>)
                                                : sizeof(math::Moments<float>));
}

Status group_norm(const GroupNormArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    const norm::Partition partition = norm::partition_of(args, args.normalized);
    if (norm::plane_blocks(args, partition) > kMaxBlocks) {
      return too_large("group_norm: too many groups");
    }
    return math::dispatch(math::Floating{}, args.dtype, [&](auto type) {
      return norm::with_activation(args.activation, [&](auto relu) {
        return norm::run<typename decltype(type)::type, decltype(relu)::value>(args, partition,
                                                                               workspace, context);
      });
    });
  });
}

}  // namespace fcos_ops::cuda
