#include "fcos_ops/iou_loss.h"

#include "random.h"

namespace fuzz {

void iou_loss(Random& random) {
  const std::int64_t count = random.integer(0, 700);
  const bool by_coordinate = random.chance(0.5);  // as [4, count], else as [count, 4]
  const std::vector<float> pred = random.boxes(count, 300), target = random.boxes(count, 300);
  std::vector<float> gradient(4 * count), losses(count), weight(count);
  for (float& w : weight) w = random.nasty(0, 2);
  const std::int64_t stride_x = by_coordinate ? 1 : 4, channel = by_coordinate ? count : 1;
  const fcos_ops::LevelView pred_view = {pred.data(), 1, count, 0, 0, stride_x, channel};
  const fcos_ops::LevelView target_view = {target.data(), 1, count, 0, 0, stride_x, channel};
  const fcos_ops::MutableLevelView slope = {gradient.data(), 1, count, 0, 0, stride_x, channel};
  float sum = 0;
  fcos_ops::IouLossArgs args;
  args.pred = &pred_view;
  args.target = &target_view;
  args.num_levels = 1;
  args.batch = 1;
  args.kind = static_cast<fcos_ops::IouKind>(random.integer(0, 4));
  args.box_format = static_cast<fcos_ops::BoxFormat>(random.integer(0, 1));
  if (random.chance(0.5)) args.weight = weight.data();
  args.loss_sum = &sum;
  if (random.chance(0.5)) args.losses = losses.data();
  if (random.chance(0.5)) args.gradient = &slope;
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::iou_loss_workspace_size(args, context));
  require(fcos_ops::iou_loss(args, scratch.workspace(), context));
}

}  // namespace fuzz
