// Levels in any other layout, such as planes (NCHW): a block takes a group of an image, channel by
// channel, a thread every 256th location, so that neighbours read neighbours.
#pragma once

#include "cuda/common/block_reduce.cuh"
#include "cuda/group_norm/tiling.cuh"

namespace fcos_ops::cuda::norm {

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

// The moments of this thread's elements of a group: of `count` locations, at least one.
template <class T>
__device__ __forceinline__ math::Moments<double> moments_of_thread(const LevelView& view,
                                                                   const PlaneGroup& group,
                                                                   std::int32_t channels,
                                                                   std::int64_t count) {
  using Real = math::Real<T>;
  const std::int64_t locations = view.height * view.width;
  // After so many locations sums of the type of the maths, then of 256 elements, go on in float64:
  // their error does not grow with the map.
  constexpr std::int64_t kRun = 256 * kThreads;
  const auto element = [&](std::int32_t channel, std::int64_t location) {
    const Plane<T, LevelView> plane(view, group.image, group.first_channel + channel);
    return read(plane[location]);
  };
  const Real base = math::median(element(0, threadIdx.x),
                                 element(channels / 2, threadIdx.x + count / 2 * kThreads),
                                 element(channels - 1, threadIdx.x + (count - 1) * kThreads));
  double sum = 0, squares = 0;
  for (std::int32_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t first = threadIdx.x; first < locations; first += kRun) {
      const std::int64_t end = first + kRun < locations ? first + kRun : locations;
      Real run_sum = 0, run_squares = 0;
      for (std::int64_t i = first; i < end; i += kThreads) {
        const Real difference = element(channel, i) - base;
        run_sum += difference;
        run_squares += difference * difference;
      }
      sum += run_sum;
      squares += run_squares;
    }
  }
  return math::moments_of_sums(static_cast<double>(base), sum, squares,
                               static_cast<double>(count * channels));
}

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
