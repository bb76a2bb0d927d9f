// The device that the examples run on, and memory there: a GPU with a stream where compiled
// WITH_CUDA, else the CPU.
#pragma once

#include <fcos_ops/types.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#ifdef WITH_CUDA
#include <cuda_runtime.h>

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
#endif

// An array on the device. On a GPU it is allocated, copied and freed in the order of the stream, as
// ops run: the host waits in read() alone.
template <class T>
class Array {
 public:
  Array(const fcos_ops::Context& context, const std::vector<T>& values)
      : context_(context), host_(values) {
#ifdef WITH_CUDA
    const std::size_t size = host_.size() * sizeof(T);
    check(cudaMallocAsync(&device_, size + 1, stream()), "cudaMallocAsync");  // 0 have no address
    check(cudaMemcpyAsync(device_, host_.data(), size, cudaMemcpyHostToDevice, stream()),
          "cudaMemcpyAsync");
#endif
  }
#ifdef WITH_CUDA
  ~Array() { cudaFreeAsync(device_, stream()); }
  T* data() { return device_; }
  const std::vector<T>& read() {
    const std::size_t size = host_.size() * sizeof(T);
    check(cudaMemcpyAsync(host_.data(), device_, size, cudaMemcpyDeviceToHost, stream()),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    return host_;
  }
#else
  T* data() { return host_.data(); }
  const std::vector<T>& read() { return host_; }
#endif
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

 private:
#ifdef WITH_CUDA
  cudaStream_t stream() const { return static_cast<cudaStream_t>(context_.stream); }
  T* device_ = nullptr;
#endif
  const fcos_ops::Context context_;
  std::vector<T> host_;
};

// Runs an op with the scratch memory that it asks for. A program that calls it often would keep
// that memory from call to call.
template <class Args>
bool run(const Args& args, std::size_t (*workspace_size)(const Args&, const fcos_ops::Context&),
         fcos_ops::Status (*op)(const Args&, fcos_ops::Workspace, const fcos_ops::Context&),
         const fcos_ops::Context& context) {
  const std::size_t size = workspace_size(args, context);
  Array<char> scratch(context, std::vector<char>(size, 0x7f));
  const fcos_ops::Status status = op(args, {scratch.data(), size}, context);
  if (!status.ok()) std::printf("status %d: %s\n", static_cast<int>(status.code), status.message);
  return status.ok();
}

// Prints both; true if they are as near as rounding lets them.
inline bool agree(const char* what, double found, double expected) {
  std::printf("%s: %.6f, expected %.6f\n", what, found, expected);
  return std::abs(found - expected) < 1e-5;
}

// Each returns whether its results are those that its comments work out.
bool focal_loss(const fcos_ops::Context& context);
bool nms(const fcos_ops::Context& context);
bool whole_loss(const fcos_ops::Context& context);
bool detections(const fcos_ops::Context& context);
