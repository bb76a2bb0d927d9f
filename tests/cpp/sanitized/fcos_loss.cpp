#include "fcos_ops/fcos_loss.h"

#include <cmath>

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::FcosLossArgs& args) {
  const std::int32_t count = args.num_levels;
  const std::int64_t elements = args.batch * args.num_classes;
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < count; ++i) {
    rows += args.batch * args.levels[i].height * args.levels[i].width;
  }
  breaks.num_levels(args.num_levels);
  breaks.levels(args.levels, count);
  breaks.views("class_logits", args.class_logits, count, elements);
  breaks.views("ltrb", args.ltrb, count, args.batch * 4);
  breaks.views("centerness", args.centerness, count, args.batch);
  breaks.optional_views("class_gradient", args.class_gradient, count, elements);
  breaks.optional_views("ltrb_gradient", args.ltrb_gradient, count, args.batch * 4);
  breaks.optional_views("centerness_gradient", args.centerness_gradient, count, args.batch);
  breaks.same_size("ltrb", args.ltrb, count);
  breaks.same_size("centerness", args.centerness, count);
  breaks.same_size("class_gradient", args.class_gradient, count);
  breaks.same_size("ltrb_gradient", args.ltrb_gradient, count);
  breaks.same_size("centerness_gradient", args.centerness_gradient, count);
  breaks.size("batch", args.batch);
  breaks.size("num_classes", args.num_classes);
  breaks.size("num_boxes", args.num_boxes);
  breaks.floating("class_dtype", args.class_dtype);
  breaks.floating("ltrb_dtype", args.ltrb_dtype);
  breaks.floating("centerness_dtype", args.centerness_dtype);
  breaks.floating("box_dtype", args.box_dtype);
  breaks.integral("label_dtype", args.label_dtype);
  breaks.enumerator("box_loss", args.loss.box_loss);
  breaks.enumerator("box_weight", args.loss.box_weight);
  breaks.enumerator("normalizer", args.loss.normalizer);
  breaks.field<double>("eps", args.loss.eps, {-1.0, 0.0, 1e-39, 1e39, NAN, INFINITY});
  breaks.field<double>("gamma", args.loss.gamma, {-1.0, 1e39, NAN, INFINITY});
  breaks.pointer("matched", args.matched, rows > 0);
  breaks.pointer("normalizers", args.normalizers, rows > 0);
  breaks.pointer("boxes", args.boxes, args.num_boxes > 0);
  breaks.pointer("labels", args.labels, args.num_boxes > 0);
  breaks.integers("labels", args.labels, args.label_dtype, args.num_boxes, false);
}

namespace {

// The outputs of a head and their gradients.
struct Head {
  void add(Random& random, const Style& style, DType dtype, std::int64_t batch,
           std::int64_t channels, const fcos_ops::AssignmentLevel& level, float low, float high) {
    const auto map = [&] {
      return Map(random, style, dtype, batch, channels, level.height, level.width);
    };
    outputs.add(map()).fill(random, low, high);
    gradients.add(map());
  }
  Maps outputs, gradients;
};

}  // namespace

void fcos_loss(Random& random) {
  const std::int64_t batch = random.integer(0, 3);
  const std::int64_t classes = random.chance(0.1) ? 1300 : random.integer(0, 30);
  const std::int64_t count = batch == 0 ? 0 : random.integer(0, 40);
  const std::vector<DType> dtypes = floating_together(random, 3);
  const DType maths = maths_of(dtypes[0]);
  Array corners = boxes(random, floating(random), count, 300);
  Array starts = offsets(random, integer(random), batch, count);
  Array labels = integers(random, integer(random), count, -4, classes + 2);
  std::vector<fcos_ops::AssignmentLevel> levels(random.integer(0, 3));
  const Style style(random);
  Head class_logits, ltrb, centerness;
  std::int64_t locations = 0;
  for (auto& level : levels) {
    level.height = random.integer(0, 12);
    level.width = random.integer(0, random.chance(0.1) ? 1100 : 30);
    level.stride_y = random.integer(1, 40);
    level.stride_x = random.integer(1, 40);
    level.scale = random.real(1, 40);
    level.upper = random.chance(0.5) ? 1e8 : 100;
    locations += level.height * level.width;
    class_logits.add(random, style, dtypes[0], batch, classes, level, -9, 9);
    ltrb.add(random, style, dtypes[1], batch, 4, level, -1, 6);
    centerness.add(random, style, dtypes[2], batch, 1, level, -3, 3);
  }
  const fcos_ops::Context context = random.context();

  std::vector<std::int32_t> matched(batch * locations);
  const bool per_image = random.chance(0.5);
  const DType box_maths = maths_of(corners.dtype());
  Array counts(random, box_maths, per_image ? 2 * batch : 2);
  fcos_ops::AssignTargetsArgs assign;
  assign.levels = levels.data();
  assign.num_levels = static_cast<std::int32_t>(levels.size());
  assign.batch = batch;
  assign.boxes = corners.data();
  assign.num_boxes = count;
  assign.box_dtype = corners.dtype();
  assign.labels = labels.data();
  assign.label_dtype = labels.dtype();
  assign.offsets = starts.data();
  assign.offset_dtype = starts.dtype();
  assign.rule.center_radius = random.chance(0.5) ? 0.0 : 1.5;
  assign.matched_int32 = matched.data();
  (per_image ? assign.image_counts : assign.counts) = counts.data();
  Scratch first(fcos_ops::assign_targets_workspace_size(assign, context));
  require(fcos_ops::assign_targets(assign, first.workspace(), context));
  if (random.chance(0.2)) {  // what assignment never writes must not be followed either
    for (auto& match : matched)
      match = static_cast<std::int32_t>(random.chance(0.1) ? random.integer(INT32_MIN, INT32_MAX)
                                                           : random.integer(-9, count + 9));
  }

  Array normalizers(random, maths, counts.count());
  for (std::int64_t i = 0; i < counts.count(); ++i) normalizers.set(i, counts.get(i));
  Array losses(random, maths, 3), scales = numbers(random, maths, 4, 0, 3);
  fcos_ops::FcosLossArgs args;
  args.class_logits = class_logits.outputs.views.data();
  args.ltrb = ltrb.outputs.views.data();
  args.centerness = centerness.outputs.views.data();
  args.class_dtype = dtypes[0];
  args.ltrb_dtype = dtypes[1];
  args.centerness_dtype = dtypes[2];
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(levels.size());
  args.batch = batch;
  args.num_classes = classes;
  args.matched = matched.data();
  args.boxes = corners.data();
  args.num_boxes = count;
  args.box_dtype = corners.dtype();
  args.labels = labels.data();
  args.label_dtype = labels.dtype();
  args.location_offset = assign.rule.location_offset;
  args.normalize_ltrb = random.chance(0.5);
  args.loss.box_loss = static_cast<fcos_ops::IouKind>(random.integer(0, 4));
  args.loss.box_weight = static_cast<fcos_ops::BoxWeight>(random.integer(0, 1));
  args.loss.gamma = static_cast<double>(random.integer(0, 6)) / 2;
  args.loss.alpha = random.chance(0.2) ? -1.0 : 0.25;
  args.loss.normalizer = static_cast<fcos_ops::LossNormalizer>(per_image);
  args.normalizers = normalizers.data();
  args.expected_factor = random.chance(0.5) ? 1.0 : random.nasty(1, 1024);
  if (random.chance(0.5)) args.expected_scale = scales.at(3);
  if (random.chance(0.5)) args.class_gradient_scale = scales.at(0);
  if (random.chance(0.5)) args.ltrb_gradient_scale = scales.at(1);
  if (random.chance(0.5)) args.centerness_gradient_scale = scales.at(2);
  if (random.chance(0.8)) args.class_loss = losses.at(0);
  if (random.chance(0.8)) args.ltrb_loss = losses.at(1);
  if (random.chance(0.8)) args.centerness_loss = losses.at(2);
  if (random.chance(0.7)) args.class_gradient = class_logits.gradients.mutable_views.data();
  if (random.chance(0.7)) args.ltrb_gradient = ltrb.gradients.mutable_views.data();
  if (random.chance(0.7)) args.centerness_gradient = centerness.gradients.mutable_views.data();
  call(random, args, fcos_ops::fcos_loss_workspace_size, fcos_ops::fcos_loss);
  args.class_loss = args.ltrb_loss = args.centerness_loss = nullptr;
  args.only_unexpected = true;
  call(random, args, fcos_ops::fcos_loss_workspace_size, fcos_ops::fcos_loss);
}

}  // namespace fuzz
