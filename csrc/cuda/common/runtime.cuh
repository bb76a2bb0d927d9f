// CUDA, or what stands in for it where the kernels run on a CPU for tests: the vocabulary of every
// kernel. No inline PTX, no cooperative groups; atomics on integers only.
#pragma once

#if defined(FCOS_OPS_SIMT)
#include "simt/runtime.h"
#else
#include <cuda_runtime.h>
#endif

#include "fcos_ops/types.h"

namespace fcos_ops::cuda {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

// The T that the threads of a block share; a kernel has one a type. It is not initialised.
template <class T>
__device__ __forceinline__ T& block_shared() {
#if defined(FCOS_OPS_SIMT)
  return *static_cast<T*>(simt::shared_memory(&simt::kSharedKey<T>, sizeof(T)));
#else
  __shared__ T memory;
  return memory;
#endif
}

// The code of a Status: the device does not hold that many blocks at once.
inline constexpr std::int32_t kCooperativeTooLarge = cudaErrorCooperativeLaunchTooLarge;

// `message`: of static lifetime, says what failed if it did.
inline Status status_of(cudaError_t error, const char* message) {
  if (error == cudaSuccess) return {};
  return {static_cast<std::int32_t>(error), message};
}

// What launch() and launch_cooperative() do.
template <class... Parameters, class... Arguments>
Status start(const char* name, bool cooperative, void (*kernel)(Parameters...), dim3 grid,
             dim3 block, const Context& context, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
#if defined(FCOS_OPS_SIMT)
  static_cast<void>(context);
  const simt::Result result = simt::start(name, cooperative, kernel, grid, block, arguments...);
  return status_of(result.error, result.message);
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = static_cast<cudaStream_t>(context.stream);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  config.attrs = &attribute;
  config.numAttrs = cooperative ? 1 : 0;
  return status_of(cudaLaunchKernelEx(&config, kernel, arguments...), name);
#endif
}

// Starts a kernel on the stream of `context`, whose device must be current. `name`, a string of
// static lifetime, tells in a Status which kernel failed. An empty grid is no launch.
template <class... Parameters, class... Arguments>
Status launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
              const Context& context, const Arguments&... arguments) {
  return start(name, false, kernel, grid, block, context, arguments...);
}

// A cooperative launch: all blocks are on the device at once, and may wait for each other. Its
// Status has the code kCooperativeTooLarge where the device, or the share of it that this process
// is given, holds fewer.
template <class... Parameters, class... Arguments>
Status launch_cooperative(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                          const Context& context, const Arguments&... arguments) {
  const Status status = start(name, true, kernel, grid, block, context, arguments...);
  // The caller goes on without: nobody shall find the error and take it for that of another call.
  if (status.code == kCooperativeTooLarge) cudaGetLastError();
  return status;
}

// Sets bytes to 0 on the stream of `context`.
inline Status fill_zero(const char* name, void* data, std::size_t size, const Context& context) {
  if (size == 0) return {};
  return status_of(cudaMemsetAsync(data, 0, size, static_cast<cudaStream_t>(context.stream)), name);
}

// Multiprocessors of the device of `context`; 1 where the runtime does not say.
inline std::int64_t count_multiprocessors(const Context& context) {
  int count = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, context.device);
  return error == cudaSuccess ? count : 1;
}

// Blocks of a kernel that the device of `context` holds at once, as launch_cooperative() needs
// them; 0 where it has no such launch.
template <class... Parameters>
std::int64_t count_cooperative_blocks(void (*kernel)(Parameters...), unsigned threads,
                                      const Context& context) {
  int is_possible = 0, blocks = 0;
  cudaError_t error =
      cudaDeviceGetAttribute(&is_possible, cudaDevAttrCooperativeLaunch, context.device);
  if (error != cudaSuccess || !is_possible) return 0;
  error =
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(threads), 0);
  return error == cudaSuccess ? blocks * count_multiprocessors(context) : 0;
}

// Calls `body`, the rest of a driver, with the device of `context` current; then the one before is
// current again. (Nothing in this library throws.)
template <class Body>
Status on_device(const Context& context, const Body& body) {
  int previous = 0;
  cudaError_t error = cudaGetDevice(&previous);
  const bool changes = error == cudaSuccess && previous != context.device;
  if (changes) error = cudaSetDevice(context.device);
  if (error != cudaSuccess) return status_of(error, "the CUDA device could not be used");
  const Status status = body();
  if (changes) cudaSetDevice(previous);
  return status;
}

}  // namespace fcos_ops::cuda
