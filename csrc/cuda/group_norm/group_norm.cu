// Group normalization on a GPU. See include/fcos_ops/group_norm.h for what it computes.
//
// Levels by rows (rows.cuh), all in one pass of two steps: a block takes a tile of neighbouring
// locations and writes the moments of each group over it; those of the tiles of a map are added up,
// in their order, and the tiles are normalized. Each step reads the maps once, the second much of
// them from the cache. They run as one cooperative launch, or where the device has none as two
// (forms.cuh). Other levels (planes.cuh) in one launch: a block takes a group, moments and result.
#include "common/workspace.h"
#include "cuda/drivers.h"
#include "cuda/group_norm/forms.cuh"
#include "cuda/group_norm/forward_rows.cuh"
#include "cuda/group_norm/planes.cuh"

namespace fcos_ops::cuda::norm {
namespace {

template <class V>
__global__ void __launch_bounds__(kThreads, kMomentsBlocks)
    group_norm_moments_kernel(ForwardArguments<typename V::Element> in) {
  ForwardRows<V, false> rows(in);
  reduce_tiles(rows, in.tiles);
}

template <class V, bool kRelu>
__global__ void __launch_bounds__(kThreads, kBlocks)
    group_norm_normalize_kernel(ForwardArguments<typename V::Element> in) {
  ForwardRows<V, kRelu> rows(in);
  finish_tiles(rows, in.tiles);
}

template <class V, bool kRelu>
__global__ void __launch_bounds__(kThreads, kBlocks)
    group_norm_cooperative_kernel(ForwardArguments<typename V::Element> in, Waiting waiting) {
  ForwardRows<V, kRelu> rows(in);
  run_cooperative(rows, in.tiles, waiting);
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
    const Plane<T, LevelView> first(view, own.image, own.first_channel);
    math::MergedMoments<double> merged(read(first[0]), 0), all = merged;
    if (threadIdx.x < locations) {
      const std::int64_t count = (locations - 1 - threadIdx.x) / kThreads + 1;
      const math::Moments<double> moments = moments_of_thread<T>(view, own, args.per_group, count);
      merged.add(moments, static_cast<double>(count * args.per_group));
    }
    const auto elements = static_cast<double>(locations * args.per_group);
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

// What the workspace holds.
template <class Real>
struct Work {
  Work(void* memory, const GroupNormArgs& args, const Context& context) {
    DeviceArena arrays(memory);
    const Tiles tiles = tiles_at_most(args, context);
    moments = arrays.take<math::Moments<Real>>(tiles.count() * args.groups);
    counters = arrays.take<std::uint32_t>(2 * tiles.maps());
    size = arrays.size();
  }

  math::Moments<Real>* moments;  // [tile, group]
  std::uint32_t* counters;       // of launch_in_one()
  std::size_t size;
};

template <class V, bool kRelu>
Status run_rows(const ForwardArguments<typename V::Element>& in, std::uint32_t* counters,
                const Context& context) {
  if (in.tiles.count() == 0) return {};
  const std::int64_t blocks = row_blocks(in.tiles, kBlocks, context);
  Status status =
      launch_in_one("group_norm_cooperative_kernel", group_norm_cooperative_kernel<V, kRelu>,
                    blocks, context, counters, in);
  if (status.code != kCooperativeTooLarge) return status;
  status = launch("group_norm_moments_kernel", group_norm_moments_kernel<V>,
                  static_cast<unsigned>(row_blocks(in.tiles, kMomentsBlocks, context)), kThreads,
                  context, in);
  if (!status.ok()) return status;
  return launch("group_norm_normalize_kernel", group_norm_normalize_kernel<V, kRelu>,
                static_cast<unsigned>(blocks), kThreads, context, in);
}

template <class T, bool kRelu>
Status run(const GroupNormArgs& args, const Partition& partition, Workspace workspace,
           const Context& context) {
  using Real = math::Real<T>;
  const Work<Real> work(workspace.data, args, context);
  const ForwardArguments<T> in = {
      partition.tiles,
      views_of(args.maps, args.num_levels),
      views_of(args.normalized, args.num_levels),
      NormArguments<Real>::of(args),
      args.eps,
      work.moments,
      reinterpret_cast<math::GroupStatistics*>(args.statistics),
  };
  const Status status = with_vectors<T>(partition, [&](auto vector) {
    return run_rows<decltype(vector), kRelu>(in, work.counters, context);
  });
  if (!status.ok()) return status;
  return launch("group_norm_planes_kernel", group_norm_planes_kernel<T, kRelu>,
                static_cast<unsigned>(plane_blocks(args, partition)), kThreads, context, partition,
                in.maps, in.normalized, in.norm, in.eps, in.statistics);
}

}  // namespace
}  // namespace fcos_ops::cuda::norm

namespace fcos_ops::cuda {

std::size_t workspace_size(const GroupNormArgs& args, const Context& context) {
  return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
    return norm::Work<typename decltype(real)::type>(nullptr, args, context).size;
  });
}

Status run(const GroupNormArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    const norm::Partition partition = norm::partition_of(args, context, args.normalized);
    if (norm::plane_blocks(args, partition) > kMaxBlocks) {
      return too_large("group_norm: too many groups");
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
