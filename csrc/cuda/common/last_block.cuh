// Telling the block of a launch that ends last, which then adds what all blocks have left in
// memory: a sum whose order is fixed, without a launch of its own.
#pragma once

#include "cuda/common/runtime.cuh"

namespace fcos_ops::cuda {

struct LastBlock {
  bool is_this_one;
};

// Returns true in all threads of the block, of `blocks`, that calls it last. All threads of every
// block call it once for each `arrivals`, with a barrier between two such calls, and after thread 0
// has written what that block leaves to the last one, or others have and a barrier has followed;
// there all threads may read it. `arrivals`, one number in the caller's workspace, is 0 when the
// launch begins: an earlier launch on the same stream or fill_zero() has made it so.
__device__ __forceinline__ bool is_last_block(std::uint32_t* arrivals, unsigned blocks) {
  auto& last = block_shared<LastBlock>();
  if (threadIdx.x == 0) {
    // Release: without it the arrival may be seen before what this block wrote.
    __threadfence();
    last.is_this_one = atomicAdd(arrivals, 1u) == blocks - 1;
    // Acquire: what the other blocks wrote before they arrived is seen from here on, and no older
    // line of this multiprocessor's cache. The barrier hands that on to all threads.
    __threadfence();
  }
  __syncthreads();
  return last.is_this_one;
}

}  // namespace fcos_ops::cuda
