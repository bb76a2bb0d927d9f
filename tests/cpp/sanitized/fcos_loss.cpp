#include "fcos_ops/fcos_loss.h"

#include "random.h"

namespace fuzz {
namespace {

// A [batch, channels, height, width] head and its gradient, each NCHW or channels_last in memory of
// exactly its size.
struct Head {
  Head(Random& random, std::int64_t batch, std::int64_t channels, std::int64_t height,
       std::int64_t width, float low, float high)
      : values(batch * channels * height * width), slopes(values.size()) {
    for (float& value : values) value = random.nasty(low, high);
    const auto shape = [&](auto view, auto* data) {
      const bool last = random.chance(0.5);
      const std::int64_t plane = height * width;
      view = {data,
              height,
              width,
              channels * plane,
              last ? width * channels : width,
              last ? channels : 1,
              last ? 1 : plane};
      return view;
    };
    view = shape(fcos_ops::LevelView{}, values.data());
    gradient = shape(fcos_ops::MutableLevelView{}, slopes.data());
  }
  std::vector<float> values, slopes;
  fcos_ops::LevelView view;
  fcos_ops::MutableLevelView gradient;
};

struct Heads {
  std::vector<Head> heads;
  std::vector<fcos_ops::LevelView> views;
  std::vector<fcos_ops::MutableLevelView> gradients;
  void add(Head head) {
    views.push_back(head.view);
    gradients.push_back(head.gradient);
    heads.push_back(std::move(head));  // the views point into heap memory, which stays
  }
};

}  // namespace

void fcos_loss(Random& random) {
  const std::int64_t batch = random.integer(0, 3);
  const std::int64_t classes = random.chance(0.1) ? 1300 : random.integer(0, 30);
  const std::int64_t count = batch == 0 ? 0 : random.integer(0, 40);
  const std::vector<float> boxes = random.boxes(count, 300);
  const std::vector<std::int64_t> offsets = random.offsets(batch, count);
  std::vector<std::int32_t> labels(count);
  for (auto& label : labels) label = static_cast<std::int32_t>(random.integer(-4, classes + 2));
  std::vector<fcos_ops::AssignmentLevel> levels(random.integer(0, 3));
  Heads class_logits, ltrb, centerness;
  std::int64_t locations = 0;
  for (auto& level : levels) {
    level.height = random.integer(0, 12);
    level.width = random.integer(0, random.chance(0.1) ? 1100 : 30);
    level.stride_y = random.integer(1, 40);
    level.stride_x = random.integer(1, 40);
    level.scale = random.real(1, 40);
    level.upper = random.chance(0.5) ? 1e8 : 100;
    locations += level.height * level.width;
    class_logits.add(Head(random, batch, classes, level.height, level.width, -9, 9));
    ltrb.add(Head(random, batch, 4, level.height, level.width, -1, 6));
    centerness.add(Head(random, batch, 1, level.height, level.width, -3, 3));
  }
  const fcos_ops::Context context = random.context();

  std::vector<std::int32_t> matched(batch * locations);
  float counts[2];
  std::vector<float> image_counts(2 * batch);
  fcos_ops::AssignTargetsArgs assign;
  assign.levels = levels.data();
  assign.num_levels = static_cast<std::int32_t>(levels.size());
  assign.batch = batch;
  assign.boxes = boxes.data();
  assign.num_boxes = count;
  assign.labels = labels.data();
  assign.label_dtype = fcos_ops::DType::kInt32;
  assign.offsets = offsets.data();
  assign.center_radius = random.chance(0.5) ? 0.0 : 1.5;
  assign.matched_int32 = matched.data();
  assign.counts = counts;
  assign.image_counts = image_counts.data();
  Scratch first(fcos_ops::assign_targets_workspace_size(assign, context));
  require(fcos_ops::assign_targets(assign, first.workspace(), context));
  if (random.chance(0.2)) {  // what assignment never writes must not be followed either
    for (auto& match : matched) match = static_cast<std::int32_t>(random.integer(-9, count + 9));
  }

  float losses[3];
  const float gradient_scale = random.nasty(0, 3);
  fcos_ops::FcosLossArgs args;
  args.class_logits = class_logits.views.data();
  args.ltrb = ltrb.views.data();
  args.centerness = centerness.views.data();
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = batch;
  args.num_classes = classes;
  args.matched = matched.data();
  args.boxes = boxes.data();
  args.num_boxes = count;
  args.labels = labels.data();
  args.label_dtype = fcos_ops::DType::kInt32;
  args.box_loss = static_cast<fcos_ops::IouKind>(random.integer(0, 4));
  args.box_weight = static_cast<fcos_ops::BoxWeight>(random.integer(0, 1));
  args.gamma = static_cast<double>(random.integer(0, 6)) / 2;
  args.per_image = random.chance(0.5);
  args.normalizers = args.per_image ? image_counts.data() : counts;
  if (random.chance(0.5)) args.class_gradient_scale = &gradient_scale;
  if (random.chance(0.8)) args.class_loss = &losses[0];
  if (random.chance(0.8)) args.ltrb_loss = &losses[1];
  if (random.chance(0.8)) args.centerness_loss = &losses[2];
  if (random.chance(0.7)) args.class_gradient = class_logits.gradients.data();
  if (random.chance(0.7)) args.ltrb_gradient = ltrb.gradients.data();
  if (random.chance(0.7)) args.centerness_gradient = centerness.gradients.data();
  Scratch second(fcos_ops::fcos_loss_workspace_size(args, context));
  require(fcos_ops::fcos_loss(args, second.workspace(), context));

  fcos_ops::FcosScaleArgs scale;
  scale.num_levels = args.num_levels;
  scale.batch = batch;
  const auto float32 = fcos_ops::DType::kFloat32;
  scale.heads[0] = {args.class_gradient, classes, float32, &gradient_scale};
  scale.heads[1] = {args.ltrb_gradient, 4, float32, &gradient_scale};
  scale.heads[2] = {args.centerness_gradient, 1, float32, &gradient_scale};
  require(fcos_ops::fcos_scale_gradients(scale, context));
}

}  // namespace fuzz
