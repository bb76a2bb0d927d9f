// Focal loss and NMS on plain arrays; the expected values are worked out in the comments.
#include <fcos_ops/focal_loss.h>
#include <fcos_ops/nms.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

int focal_loss() {
  // Two locations, two classes, all logits 0: p = 1/2, so that an entry costs
  // weight * (1/2)^2 * log 2. The first location is of class 1, the second is background.
  const std::vector<float> logits(4, 0.0f);
  const std::vector<std::int64_t> labels = {1, -1};
  const fcos_ops::LevelView level = {logits.data(), 1, 2, 4, 4, 2, 1};
  float loss = 0;
  fcos_ops::FocalLossArgs args;
  args.logits = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = 2;
  args.labels = labels.data();
  args.loss_sum = &loss;
  const fcos_ops::Context context;
  std::vector<char> scratch(fcos_ops::sigmoid_focal_loss_workspace_size(args, context));
  const fcos_ops::Status status =
      fcos_ops::sigmoid_focal_loss(args, {scratch.data(), scratch.size()}, context);
  const float expected = (0.25f + 3 * 0.75f) * 0.25f * std::log(2.0f);
  std::printf("focal loss %.6f, expected %.6f %s\n", loss, expected, status.message);
  return status.ok() && std::fabs(loss - expected) < 1e-6f ? 0 : 1;
}

int nms() {
  // The second box covers 81 of the first's 100 square pixels: IoU 0.81 > 0.5, so it goes. The
  // third touches neither. By score: 2, then 0.
  const std::vector<float> boxes = {0, 0, 10, 10, 0, 0, 9, 9, 20, 20, 30, 30};
  const std::vector<float> scores = {0.8f, 0.7f, 0.9f};
  std::vector<std::int64_t> keep(3, -1);
  std::int64_t count = 0;
  fcos_ops::NmsArgs args;
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.num_boxes = 3;
  args.iou_threshold = 0.5;
  args.max_detections = 3;
  args.keep = keep.data();
  args.count = &count;
  const fcos_ops::Context context;
  std::vector<char> scratch(fcos_ops::nms_workspace_size(args, context));
  const fcos_ops::Status status = fcos_ops::nms(args, {scratch.data(), scratch.size()}, context);
  std::printf("nms keeps %d: %d %d %s\n", static_cast<int>(count), static_cast<int>(keep[0]),
              static_cast<int>(keep[1]), status.message);
  return status.ok() && count == 2 && keep[0] == 2 && keep[1] == 0 ? 0 : 1;
}

}  // namespace

int main() { return focal_loss() + nms(); }
