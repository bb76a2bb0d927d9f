// Levels in any other layout, such as planes (NCHW): a block takes a group of an image, channel by
// channel, a thread every 256th location, so that neighbours read neighbours.
#pragma once

#include "cuda/common/block_reduce.cuh"
#include "cuda/group_norm/tiling.cuh"

namespace fcos_ops::cuda::norm {

// The group of this block.
struct PlaneGroup {
  std::int32_t level, group, first_channel;
  std::int64_t image;

  template <class Real>
  __device__ __forceinline__ PlaneGroup(const Partition& partition,
                                        const NormArguments<Real>& args) {
    const auto [pair, index] = math::divide(blockIdx.x, args.groups);
    const auto [plane, image_index] = math::divide(pair, args.batch);
    level = partition.plane_level[plane];
    image = image_index;
    group = static_cast<std::int32_t>(index);
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

// The sum over the threads of the block, in all of them.
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
