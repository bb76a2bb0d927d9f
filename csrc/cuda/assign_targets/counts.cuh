// The counts of matched locations: of tiles, of images, of all.
#pragma once

#include "cuda/common/block_reduce.cuh"
#include "fcos_ops/assign_targets.h"

namespace fcos_ops::cuda::assignment {

struct alignas(16) Counts {
  double centerness;
  std::int64_t positives;
};

template <unsigned kThreads>
struct CountsOfWarps {
  Counts warp[kThreads / kWarp];
};

// The sum over the threads of a block, in thread 0. Another call needs a barrier in front, as
// thread 0 may still read.
template <unsigned kThreads>
__device__ __forceinline__ Counts block_sum_of_counts(Counts counts) {
  auto& shared = block_shared<CountsOfWarps<kThreads>>();
  if (__any_sync(kFullMask, counts.positives != 0)) {  // not so in most warps
    counts.positives = warp_sum(counts.positives);
    counts.centerness = warp_sum(counts.centerness);
  }
  if (threadIdx.x % kWarp == 0) shared.warp[threadIdx.x / kWarp] = counts;
  __syncthreads();  // the counts of all warps are there
  if (threadIdx.x == 0) {
    for (unsigned warp = 1; warp < kThreads / kWarp; ++warp) {
      counts.positives += shared.warp[warp].positives;
      counts.centerness += shared.warp[warp].centerness;
    }
  }
  return counts;
}

template <class Real>
__device__ __forceinline__ void write_pair(const Counts& counts, void* numbers,
                                           std::int64_t index) {
  if (numbers == nullptr) return;
  static_cast<Real*>(numbers)[2 * index] = static_cast<Real>(counts.positives);
  static_cast<Real*>(numbers)[2 * index + 1] = static_cast<Real>(counts.centerness);
}

// Adds the counts of all tiles, a warp those of an image after another. In float64 the order hardly
// ever matters: sums of float32 numbers are exact as long as the least of them is not far below the
// sum.
template <class Real, unsigned kThreads>
__device__ __forceinline__ void add_counts(const Counts* partials, std::int64_t tiles,
                                           const AssignTargetsArgs& args) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Counts total = {};
  for (std::int64_t image = warp; image < args.batch; image += kThreads / kWarp) {
    Counts counts = {};
#pragma unroll 2
    for (std::int64_t i = lane; i < tiles; i += kWarp) {
      counts.positives += partials[image * tiles + i].positives;
      counts.centerness += partials[image * tiles + i].centerness;
    }
    counts.positives = warp_sum(counts.positives);
    counts.centerness = warp_sum(counts.centerness);
    if (lane != 0) continue;
    write_pair<Real>(counts, args.image_counts, image);
    total.positives += counts.positives;
    total.centerness += counts.centerness;
  }
  total = block_sum_of_counts<kThreads>(total);
  if (threadIdx.x != 0) return;
  write_pair<Real>(total, args.counts, 0);
  if (args.num_pos) *args.num_pos = total.positives;
  if (args.centerness_sum) {
    *static_cast<Real*>(args.centerness_sum) = static_cast<Real>(total.centerness);
  }
}

}  // namespace fcos_ops::cuda::assignment
