// Levels in any other layout, such as planes (NCHW): a block takes a group of an image, channel by
// channel, a thread every 256th location, so that neighbours read neighbours.
#pragma once

#include "cuda/common/block_reduce.cuh"
#include "cuda/group_norm/tiling.cuh"

namespace fcos_ops::cuda::norm {

// Locations of a plane of which a thread adds up its 256 in the type of the maths, before that goes
// to a sum of float64: the error does not grow with the map.
inline constexpr std::int64_t kPlaneRun = 256 * kThreads;

// The group of this block.
struct PlaneGroup {
  std::int64_t pair;  // of level and image, counted over the levels in planes
  std::int64_t image;
  std::int32_t level, group, first_channel;

  template <class Real>
  __device__ __forceinline__ PlaneGroup(const Partition& partition,
                                        const NormArguments<Real>& args) {
    const auto of_groups = math::divide(blockIdx.x, args.groups);
    pair = of_groups.quotient;
    const auto of_images = math::divide(pair, args.batch);
    level = partition.plane_level[of_images.quotient];
    image = of_images.remainder;
    group = static_cast<std::int32_t>(of_groups.remainder);
    first_channel = group * args.per_group;
  }
};

// The elements of one channel.
template <class T, class View>
struct Plane {
  const View& view;
  std::int64_t start;
  bool is_line;

  __device__ __forceinline__ Plane(const View& view, std::int64_t image, std::int32_t channel)
      : view(view),
        start(image * view.stride_batch + channel * view.stride_channel),
        is_line(view.stride_y == view.width * view.stride_x) {}

  __device__ __forceinline__ auto& operator[](std::int64_t location) const {
    const std::int64_t offset =
        is_line ? location * view.stride_x : element_offset(view, 0, location);
    if constexpr (std::is_same_v<View, LevelView>) {
      return static_cast<const T*>(view.data)[start + offset];
    } else {
      return static_cast<T*>(view.data)[start + offset];
    }
  }
};

// The sum over the threads of the block, in all of them. It can be called again, for the same slot,
// too: its own barriers lie between what one call reads and the next writes. The last, behind which
// thread 0 has read the sums of the warps; the first, before which all have read the last value.
template <int kSlot>
struct Broadcast {
  double value;
};
template <int kSlot>
__device__ __forceinline__ double sum_for_all(double value) {
  auto& shared = block_shared<Broadcast<kSlot>>();
  const double sum = block_sum<kThreads, kSlot>(value);
  if (threadIdx.x == 0) shared.value = sum;
  __syncthreads();
  return shared.value;
}

}  // namespace fcos_ops::cuda::norm
