// Exits with 77 where it was compiled for a GPU and there is none.
#include "device.h"

int main() {
  fcos_ops::Context context;  // the CPU, one thread
#ifdef WITH_CUDA
  constexpr int kNoGpu = 77;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no GPU\n");
    return kNoGpu;
  }
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  context.device = 0;
  context.stream = stream;
#endif
  const bool results[] = {focal_loss(context), nms(context), whole_loss(context),
                          detections(context)};
  for (const bool is_right : results) {
    if (!is_right) return 1;
  }
}
