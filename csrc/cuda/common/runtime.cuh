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

// Starts a kernel on the stream of `context`, whose device must be current. `name`, a string of
// static lifetime, tells in a Status which kernel failed. An empty grid is no launch.
template <class... Parameters, class... Arguments>
Status launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
              const Context& context, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return {};
#if defined(FCOS_OPS_SIMT)
  static_cast<void>(context);
  constexpr std::int32_t kLaunchFailure = 719;  // cudaErrorLaunchFailure
  const char* const error = simt::start(name, kernel, grid, block, arguments...);
  return error == nullptr ? Status{} : Status{kLaunchFailure, error};
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = static_cast<cudaStream_t>(context.stream);
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  return error == cudaSuccess ? Status{} : Status{static_cast<std::int32_t>(error), name};
#endif
}

// Sets bytes to 0 on the stream of `context`.
inline Status fill_zero(const char* name, void* data, std::size_t size, const Context& context) {
  if (size == 0) return {};
  const cudaError_t error =
      cudaMemsetAsync(data, 0, size, static_cast<cudaStream_t>(context.stream));
  return error == cudaSuccess ? Status{} : Status{static_cast<std::int32_t>(error), name};
}

// Multiprocessors of the device of `context`; 1 where the runtime does not say.
inline std::int64_t count_multiprocessors(const Context& context) {
  int count = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, context.device);
  return error == cudaSuccess ? count : 1;
}

// Makes a device current, and at the end the one that was before.
class DeviceGuard {
 public:
  explicit DeviceGuard(std::int32_t device) {
    cudaError_t error = cudaGetDevice(&previous_);
    if (error == cudaSuccess && previous_ != device) {
      error = cudaSetDevice(device);
      changed_ = error == cudaSuccess;
    }
    if (error != cudaSuccess) {
      status_ = {static_cast<std::int32_t>(error), "the CUDA device could not be used"};
    }
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;
  const Status& status() const { return status_; }

 private:
  int previous_ = 0;
  bool changed_ = false;
  Status status_;
};

// Calls `body`, the rest of a driver, with the device of `context` current.
template <class Body>
Status on_device(const Context& context, const Body& body) {
  const DeviceGuard guard(context.device);
  return guard.status().ok() ? body() : guard.status();
}

}  // namespace fcos_ops::cuda
