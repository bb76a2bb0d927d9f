#include "fcos_ops/focal_loss.h"

#include "random.h"

namespace fuzz {

void focal_loss(Random& random) {
  const std::int64_t batch = random.integer(0, 2), classes = random.integer(0, 30);
  const std::int64_t height = random.integer(0, 5), width = random.integer(0, 300);
  const std::int64_t rows = height * width;
  const bool channels_last = random.chance(0.5);
  std::vector<float> logits(batch * rows * classes), losses(logits.size());
  for (float& x : logits) x = random.nasty(-20, 20);
  std::vector<float> gradient(logits.size()), weight(batch * rows), targets(logits.size());
  for (float& w : weight) w = random.nasty(0, 2);
  for (float& t : targets) t = random.real(0, 1);
  std::vector<std::int32_t> labels(batch * rows);
  for (auto& label : labels) label = static_cast<std::int32_t>(random.integer(-4, classes + 2));

  const std::int64_t location = channels_last ? classes : 1, channel = channels_last ? 1 : rows;
  const auto view = [&](auto* data) {
    return fcos_ops::MutableLevelView{data,     height, width, rows * classes, width * location,
                                      location, channel};
  };
  const auto constant = [](const fcos_ops::MutableLevelView& v) {
    return fcos_ops::LevelView{v.data,     v.height,   v.width,         v.stride_batch,
                               v.stride_y, v.stride_x, v.stride_channel};
  };
  const fcos_ops::LevelView logit_view = constant(view(logits.data()));
  const fcos_ops::LevelView target_view = constant(view(targets.data()));
  const auto loss_view = view(losses.data()), gradient_view = view(gradient.data());
  float sum = 0;
  fcos_ops::FocalLossArgs args;
  args.logits = &logit_view;
  args.num_levels = 1;
  args.batch = batch;
  args.num_classes = classes;
  if (random.chance(0.7)) {
    args.labels = labels.data();
    args.label_dtype = fcos_ops::DType::kInt32;
  } else {
    args.targets = &target_view;
  }
  if (random.chance(0.5)) args.weight = weight.data();
  args.gamma = static_cast<double>(random.integer(0, 6)) / 2;
  args.loss_sum = &sum;
  if (random.chance(0.5)) args.losses = &loss_view;
  if (random.chance(0.5)) args.gradient = &gradient_view;
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::sigmoid_focal_loss_workspace_size(args, context));
  require(fcos_ops::sigmoid_focal_loss(args, scratch.workspace(), context));
}

}  // namespace fuzz
