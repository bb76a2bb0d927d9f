#include "fcos_ops/centerness.h"

#include "random.h"

namespace fuzz {
namespace {

void centerness_target(Random& random) {
  const std::int64_t count = random.integer(0, 700);
  const bool by_side = random.chance(0.5);  // as [4, count], else as [count, 4]
  std::vector<float> ltrb(4 * count), target(count);
  for (float& side : ltrb) side = random.nasty(-2, 30);
  const std::int64_t stride_x = by_side ? 1 : 4, channel = by_side ? count : 1;
  const fcos_ops::LevelView view = {ltrb.data(), 1, count, 0, 0, stride_x, channel};
  fcos_ops::CenternessTargetArgs args;
  args.ltrb = &view;
  args.num_levels = 1;
  args.batch = 1;
  args.target = target.data();
  const fcos_ops::Context context = random.context();
  require(fcos_ops::centerness_target(args, context));
}

void centerness_loss(Random& random) {
  const std::int64_t count = random.integer(0, 700), stride = random.integer(1, 3);
  std::vector<float> logits(stride * count), target(count), losses(count);
  std::vector<float> gradient(stride * count);
  std::vector<std::uint8_t> mask(count);
  std::vector<std::int64_t> labels(count);
  for (float& x : logits) x = random.nasty(-20, 20);
  for (float& t : target) t = random.nasty(0, 1);
  for (std::uint8_t& m : mask) m = static_cast<std::uint8_t>(random.integer(0, 1));
  for (std::int64_t& label : labels) label = random.integer(-2, 5);
  const fcos_ops::LevelView view = {logits.data(), 1, count, 0, 0, stride, 1};
  const fcos_ops::MutableLevelView slope = {gradient.data(), 1, count, 0, 0, stride, 1};
  float sum = 0;
  fcos_ops::CenternessLossArgs args;
  args.logits = &view;
  args.num_levels = 1;
  args.batch = 1;
  args.target = target.data();
  if (random.chance(0.3)) {
    args.selection = mask.data();
  } else if (random.chance(0.5)) {
    args.selection = labels.data();
    args.selection_dtype = fcos_ops::DType::kInt64;
  }
  if (random.chance(0.5)) args.loss_sum = &sum;
  if (random.chance(0.5)) args.losses = losses.data();
  if (random.chance(0.5)) args.gradient = &slope;
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::centerness_loss_workspace_size(args, context));
  require(fcos_ops::centerness_loss(args, scratch.workspace(), context));
}

}  // namespace

void centerness(Random& random) {
  centerness_target(random);
  centerness_loss(random);
}

}  // namespace fuzz
