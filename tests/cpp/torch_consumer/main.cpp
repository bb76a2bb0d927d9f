// Hands at::Tensors to fcos_ops: the same functions, on the memory that LibTorch owns.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcos_ops/focal_loss.h>
#include <fcos_ops/nms.h>

#include <cstdio>

namespace {

fcos_ops::Context context() { return {fcos_ops::kCpuDevice, nullptr, at::get_num_threads()}; }

template <class Pointer>
fcos_ops::BasicLevelView<Pointer> level(const at::Tensor& rows) {
  return {rows.data_ptr(), 1, rows.size(0), 0, 0, rows.stride(0), rows.stride(1)};
}

// Value and gradient against the formula written with ATen's ops.
bool focal_loss() {
  const at::Tensor logits = at::randn({1000, 20});
  const at::Tensor labels = at::randint(-1, 20, {1000}, at::kLong);
  const at::Tensor loss = at::empty({});
  const at::Tensor gradient = at::empty_like(logits);
  const auto logit_view = level<const void*>(logits);
  const auto gradient_view = level<void*>(gradient);
  fcos_ops::FocalLossArgs args;
  args.logits = &logit_view;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = 20;
  args.labels = labels.data_ptr();
  args.loss_sum = loss.data_ptr();
  args.gradient = &gradient_view;
  const auto size =
      static_cast<std::int64_t>(fcos_ops::sigmoid_focal_loss_workspace_size(args, context()));
  const at::Tensor scratch = at::empty({size}, at::kByte);
  const fcos_ops::Status status = fcos_ops::sigmoid_focal_loss(
      args, {scratch.data_ptr(), static_cast<std::size_t>(size)}, context());

  const at::Tensor positive = labels.unsqueeze(1) == at::arange(20);
  const at::Tensor z = at::where(positive, -logits, logits).to(at::kDouble);
  const at::Tensor factor = at::where(positive, 0.25, 0.75);
  const at::Tensor p = z.sigmoid();
  const at::Tensor softplus = -(-z).sigmoid().log();
  const at::Tensor expected = (factor * p * p * softplus).sum();
  const at::Tensor slope = factor * p * p * (2 * (1 - p) * softplus + p);
  const at::Tensor expected_gradient = at::where(positive, -slope, slope);
  const double error = (gradient - expected_gradient).norm().item<double>();
  std::printf("focal loss %.4f, expected %.4f, gradient error %.2g %s\n", loss.item<float>(),
              expected.item<double>(), error, status.message);
  return status.ok() && at::allclose(loss.to(at::kDouble), expected, 1e-5) && error < 1e-5;
}

bool nms() {
  const at::Tensor corners = at::rand({500, 2}) * 100;
  const at::Tensor boxes = at::cat({corners, corners + 20}, 1);
  const at::Tensor scores = at::rand({500});
  const at::Tensor keep = at::full({500}, -1, at::kLong);
  const at::Tensor count = at::zeros({}, at::kLong);
  fcos_ops::NmsArgs args;
  args.boxes = boxes.data_ptr();
  args.scores = scores.data_ptr();
  args.num_boxes = 500;
  args.max_detections = 500;
  args.keep = keep.mutable_data_ptr<std::int64_t>();
  args.count = count.mutable_data_ptr<std::int64_t>();
  const auto size = static_cast<std::int64_t>(fcos_ops::nms_workspace_size(args, context()));
  const at::Tensor scratch = at::empty({size}, at::kByte);
  const fcos_ops::Status status =
      fcos_ops::nms(args, {scratch.data_ptr(), static_cast<std::size_t>(size)}, context());
  // The best box is kept, and kept scores never rise.
  const at::Tensor kept = scores.index({keep.slice(0, 0, count.item<std::int64_t>())});
  const bool sorted = (kept.diff() <= 0).all().item<bool>();
  std::printf("nms keeps %d of 500 %s\n", static_cast<int>(kept.numel()), status.message);
  return status.ok() && sorted && kept[0].equal(scores.max()) && kept.numel() < 500;
}

}  // namespace

int main() {
  const bool loss_agrees = focal_loss();
  const bool boxes_agree = nms();
  return loss_agrees && boxes_agree ? 0 : 1;
}
