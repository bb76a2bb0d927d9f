// Sorting of a few thousand keys, integers, by one block, in shared memory.
#pragma once

#include "cuda/common/runtime.cuh"

namespace fcos_ops::cuda {

// Sorts keys[0, size) upwards; size is a power of two, at least 2. All threads of the block call it
// after a barrier behind which the keys are written; it ends with one: of the block, or for up to
// 32 keys of the first warp, which alone has touched them. A bitonic network: pairs up to 32 apart
// stay within 64 keys that one warp has throughout, and need no barrier of the block.
template <unsigned kThreads, class Key>
__device__ __forceinline__ void block_bitonic_sort(Key* keys, unsigned size) {
  static_assert(kThreads % kWarp == 0);
  for (unsigned run = 2; run <= size; run *= 2) {
    for (unsigned distance = run / 2; distance > 0; distance /= 2) {
      for (unsigned pair = threadIdx.x; pair < size / 2; pair += kThreads) {
        const unsigned low = 2 * pair - (pair & (distance - 1)), high = low + distance;
        const Key a = keys[low], b = keys[high];
        const bool upwards = (low & run) == 0;
        if ((a > b) == upwards) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      // The next step is the next distance of this run, or the first of the next run.
      const bool crosses_warps = distance > kWarp || (distance == 1 && run > kWarp);
      if (crosses_warps) {
        __syncthreads();
      } else {
        __syncwarp();
      }
    }
  }
}

}  // namespace fcos_ops::cuda
