// Flags by which the blocks of a cooperative launch wait for each other. They lie in the caller's
// workspace and are 0 when the launch begins: fill_zero() has made them so.
#pragma once

#include "cuda/common/runtime.cuh"

#if !defined(FCOS_OPS_SIMT)
#include <cuda/atomic>
#endif

namespace fcos_ops::cuda {

// Called by one thread, behind a barrier if others of its block have written what the flag stands
// for.
__device__ __forceinline__ void raise_flag(std::uint32_t* flag) {
  // Release: without it the flag may be seen before what was written. A fence, unlike a release of
  // this thread's own writes, covers all that it has seen behind the barrier.
  __threadfence();
  atomicExch(flag, 1u);
}

// Returns once the flag is up; what was written before it is seen from here on, by this thread and
// by those that meet it at a barrier, of a block or a warp, behind. Whoever raises the flag must
// not wait for this block.
#if defined(FCOS_OPS_SIMT)
inline void wait_for_flag(std::uint32_t* flag, int line = __builtin_LINE()) {
  simt::wait_for(flag, line);
}
#else
__device__ __forceinline__ void wait_for_flag(std::uint32_t* flag) {
  const ::cuda::atomic_ref<std::uint32_t, ::cuda::thread_scope_device> shared(*flag);
  // Acquire: without it what was written before the flag may be read from an older line of this
  // multiprocessor's cache.
  while (shared.load(::cuda::memory_order_acquire) == 0) __nanosleep(40);
}
#endif

}  // namespace fcos_ops::cuda
