// Focal loss and NMS on memory of a GPU and a stream of the program's own; the expected values are
// worked out in the comments. Exits with 77 where there is no GPU.
#include <cuda_runtime.h>
#include <fcos_ops/focal_loss.h>
#include <fcos_ops/nms.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kNoGpu = 77;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// An array on the GPU.
template <class T>
class Array {
 public:
  explicit Array(const std::vector<T>& values) : size_(values.size()) {
    check(cudaMalloc(&data_, size_ * sizeof(T) + 1), "cudaMalloc");  // 0 bytes have no address
    const auto kind = cudaMemcpyHostToDevice;
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), kind), "cudaMemcpy");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // other streams do not wait for it
  }
  ~Array() { cudaFree(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  std::vector<T> values(cudaStream_t stream) const {
    std::vector<T> result(size_);
    const auto kind = cudaMemcpyDeviceToHost;
    check(cudaMemcpyAsync(result.data(), data_, size_ * sizeof(T), kind, stream), "cudaMemcpy");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return result;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

int focal_loss(const fcos_ops::Context& context, cudaStream_t stream) {
  // Two locations, two classes, all logits 0: p = 1/2, so that an entry costs
  // weight * (1/2)^2 * log 2. The first location is of class 1, the second is background.
  const Array<float> logits(std::vector<float>(4, 0.0f)), loss({0.0f});
  const Array<std::int64_t> labels({1, -1});
  const fcos_ops::LevelView level = {logits.data(), 1, 2, 4, 4, 2, 1};
  fcos_ops::FocalLossArgs args;
  args.logits = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = 2;
  args.labels = labels.data();
  args.loss_sum = loss.data();
  const std::size_t size = fcos_ops::sigmoid_focal_loss_workspace_size(args, context);
  const Array<char> scratch(std::vector<char>(size, 0x7f));
  const fcos_ops::Status status =
      fcos_ops::sigmoid_focal_loss(args, {scratch.data(), size}, context);
  const float found = loss.values(stream)[0];
  const float expected = (0.25f + 3 * 0.75f) * 0.25f * std::log(2.0f);
  std::printf("focal loss %.6f, expected %.6f %s\n", found, expected, status.message);
  return status.ok() && std::fabs(found - expected) < 1e-6f ? 0 : 1;
}

int nms(const fcos_ops::Context& context, cudaStream_t stream) {
  // The second box covers 81 of the first's 100 square pixels: IoU 0.81 > 0.5, so it goes. The
  // third touches neither. By score: 2, then 0.
  const Array<float> boxes({0, 0, 10, 10, 0, 0, 9, 9, 20, 20, 30, 30});
  const Array<float> scores({0.8f, 0.7f, 0.9f});
  const Array<std::int64_t> keep({-1, -1, -1}), count({0});
  fcos_ops::NmsArgs args;
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.num_boxes = 3;
  args.iou_threshold = 0.5;
  args.max_detections = 3;
  args.keep = keep.data();
  args.count = count.data();
  const std::size_t size = fcos_ops::nms_workspace_size(args, context);
  const Array<char> scratch(std::vector<char>(size, 0x7f));
  const fcos_ops::Status status = fcos_ops::nms(args, {scratch.data(), size}, context);
  const std::vector<std::int64_t> kept = keep.values(stream);
  const std::int64_t found = count.values(stream)[0];
  std::printf("nms keeps %d: %d %d %s\n", static_cast<int>(found), static_cast<int>(kept[0]),
              static_cast<int>(kept[1]), status.message);
  return status.ok() && found == 2 && kept[0] == 2 && kept[1] == 0 ? 0 : 1;
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no GPU\n");
    return kNoGpu;
  }
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  fcos_ops::Context context;
  context.device = 0;
  context.stream = stream;
  return focal_loss(context, stream) + nms(context, stream);
}
