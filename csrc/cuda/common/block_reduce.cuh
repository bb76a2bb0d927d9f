// Sums whose order is fixed, so that two runs give the same bits: blocks write partial sums, which
// a second kernel of one block, or the block that ends last (last_block.cuh), adds.
#pragma once

#include "cuda/common/runtime.cuh"

namespace fcos_ops::cuda {

inline constexpr unsigned kFinishThreads = 256;

// The sum over the threads of a warp, in lane 0.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (unsigned delta = kWarp / 2; delta > 0; delta /= 2) {
    value += __shfl_down_sync(kFullMask, value, delta);
  }
  return value;
}

// The inclusive prefix sum over the lanes of a warp.
template <class T>
__device__ __forceinline__ T warp_inclusive_sum(T value) {
  for (unsigned delta = 1; delta < kWarp; delta *= 2) {
    const T other = __shfl_up_sync(kFullMask, value, delta);
    if (threadIdx.x % kWarp >= delta) value += other;
  }
  return value;
}

template <class T, unsigned kThreads, int kSlot>
struct WarpSums {
  T sum[kThreads / kWarp];
};

// The sum over all kThreads threads of the block, in thread 0. Each type and slot has memory of its
// own, which is free again behind the next barrier: before that, a kernel calls it once for each.
template <unsigned kThreads, int kSlot = 0, class T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(kThreads % kWarp == 0 && kThreads <= kWarp * kWarp);
  auto& shared = block_shared<WarpSums<T, kThreads, kSlot>>();
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) shared.sum[threadIdx.x / kWarp] = value;
  __syncthreads();  // the sums of all warps are there
  if (threadIdx.x == 0) {
    for (unsigned warp = 1; warp < kThreads / kWarp; ++warp) value += shared.sum[warp];
  }
  return value;
}

// The sum of every stride-th of `count` partial sums, in thread 0 of a block of kThreads.
template <unsigned kThreads, int kSlot = 0>
__device__ __forceinline__ double sum_of_partials(const double* partials, std::int64_t count,
                                                  std::int64_t stride = 1) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i * stride];
  return block_sum<kThreads, kSlot>(sum);
}

// *result = the sum of the partial sums. One block of kFinishThreads.
template <class Real>
__global__ void finish_sum_kernel(const double* partials, std::int64_t count, Real* result) {
  const double sum = sum_of_partials<kFinishThreads>(partials, count);
  if (threadIdx.x == 0) *result = static_cast<Real>(sum);
}

}  // namespace fcos_ops::cuda
