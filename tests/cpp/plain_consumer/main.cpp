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

}  // namespace

int main() { return focal_loss(); }
