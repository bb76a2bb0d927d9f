// What surrounds the network of a detector: the whole training loss with its gradients, and the
// detections in the outputs of the head.
//
// One image of 16 x 8 pixels and one level of 1 x 2 cells, stride 8: locations (4, 4) and (12, 4).
#include <fcos_ops/fcos_loss.h>
#include <fcos_ops/postprocess.h>

#include <cmath>

#include "device.h"

namespace {

constexpr std::int64_t kHeight = 1, kWidth = 2, kClasses = 2, kStride = 8;
constexpr std::int64_t kLocations = kHeight * kWidth;

// A head's map as frameworks have it by default: contiguous [batch, channels, height, width].
template <class View, class Pointer>
View nchw(Pointer data, std::int64_t channels) {
  return {data, kHeight, kWidth, channels * kLocations, kWidth, 1, kLocations};
}

// Which box each location should predict, and how many do: what fcos_loss begins with. The counts
// stay on the device; processes that train together would average them here.
bool match(const fcos_ops::AssignmentLevel& level, Array<float>& boxes, Array<std::int64_t>& labels,
           Array<std::int32_t>& matched, Array<float>& counts, const fcos_ops::Context& context) {
  Array<std::int64_t> offsets(context, {0, 1});  // image 0 owns box 0
  fcos_ops::AssignTargetsArgs args;
  args.levels = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.boxes = boxes.data();
  args.num_boxes = 1;
  args.labels = labels.data();
  args.offsets = offsets.data();
  args.rule.center_radius = 1.0;  // the rest of the rule is as in the preset "improved"
  args.matched_int32 = matched.data();
  args.counts = counts.data();
  return run(args, fcos_ops::assign_targets_workspace_size, fcos_ops::assign_targets, context);
}

}  // namespace

bool whole_loss(const fcos_ops::Context& context) {
  // The box lies around the first location, 4 pixels to each side: half of the unit of distances.
  // Its centerness is 1. Predicted are distances twice as large.
  Array<float> class_logits(context, std::vector<float>(kClasses * kLocations, 0.0f));
  Array<float> ltrb(context, std::vector<float>(4 * kLocations, 1.0f));
  Array<float> centerness(context, std::vector<float>(kLocations, 0.0f));
  Array<float> boxes(context, {0, 0, 8, 8});
  Array<std::int64_t> labels(context, {1});
  Array<std::int32_t> matched(context, {-1, -1});
  Array<float> counts(context, {0, 0}), losses(context, {0, 0, 0});
  Array<float> centerness_gradient(context, std::vector<float>(kLocations));
  const fcos_ops::AssignmentLevel level = {kHeight, kWidth, kStride, kStride, 8.0, -1.0, 64.0};
  if (!match(level, boxes, labels, matched, counts, context)) return false;

  using fcos_ops::LevelView;
  const auto class_view = nchw<LevelView>(class_logits.data(), kClasses);
  const auto ltrb_view = nchw<LevelView>(ltrb.data(), 4);
  const auto centerness_view = nchw<LevelView>(centerness.data(), 1);
  const auto gradient = nchw<fcos_ops::MutableLevelView>(centerness_gradient.data(), 1);
  fcos_ops::FcosLossArgs args;
  args.class_logits = &class_view;
  args.ltrb = &ltrb_view;
  args.centerness = &centerness_view;
  args.levels = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = kClasses;
  args.matched = matched.data();
  args.boxes = boxes.data();
  args.num_boxes = 1;
  args.labels = labels.data();
  args.loss.box_loss = fcos_ops::IouKind::kLinearIou;
  args.normalizers = counts.data();
  args.class_loss = losses.data();
  args.ltrb_loss = losses.data() + 1;
  args.centerness_loss = losses.data() + 2;
  args.centerness_gradient = &gradient;  // those of the other heads likewise
  if (!run(args, fcos_ops::fcos_loss_workspace_size, fcos_ops::fcos_loss, context)) return false;

  // One positive: nothing is divided. Its entry costs 0.25 * (1/2)^2 * log 2, the three negative
  // ones 0.75 * (1/2)^2 * log 2; the IoU is 1/4; sigmoid(0) is 1/2 and should be 1.
  const std::vector<float> found = losses.read(), slopes = centerness_gradient.read();
  const double log2 = std::log(2.0);
  const bool right[] = {agree("class loss", found[0], (0.25 + 3 * 0.75) * 0.25 * log2),
                        agree("box loss", found[1], 0.75), agree("centerness loss", found[2], log2),
                        agree("its gradient", slopes[0], -0.5),
                        agree("that of background", slopes[1], 0.0)};
  return right[0] && right[1] && right[2] && right[3] && right[4];
}

bool detections(const fcos_ops::Context& context) {
  // Class by class. The first location is of class 1, the second of class 0; their boxes reach half
  // a unit to each side. A third score is above the threshold, but of a class that is not wanted.
  constexpr std::int64_t kRoom = 3;
  const std::int64_t classes = kClasses + 1;
  Array<float> class_logits(context, {-9, 1, 2, -9, 3, 3});
  Array<float> ltrb(context, std::vector<float>(4 * kLocations, 0.5f));
  Array<float> centerness(context, std::vector<float>(kLocations, 0.0f));
  Array<std::int64_t> image_sizes(context, {8, 16});
  Array<std::uint8_t> wanted(context, {1, 1, 0});
  Array<float> boxes(context, std::vector<float>(kRoom * 4)), scores(context, {0, 0, 0});
  Array<std::int64_t> labels(context, {0, 0, 0}), count(context, {0});

  using fcos_ops::LevelView;
  const auto class_view = nchw<LevelView>(class_logits.data(), classes);
  const auto ltrb_view = nchw<LevelView>(ltrb.data(), 4);
  const auto centerness_view = nchw<LevelView>(centerness.data(), 1);
  const fcos_ops::PostprocessLevel level = {kStride, kStride, 8.0};
  fcos_ops::PostprocessArgs args;
  args.class_logits = &class_view;
  args.ltrb = &ltrb_view;
  args.centerness = &centerness_view;
  args.levels = &level;
  args.num_levels = 1;
  args.batch = 1;
  args.num_classes = classes;
  args.image_sizes = image_sizes.data();
  args.classes = wanted.data();
  args.rule.max_detections = kRoom;  // the rest of the rule is as in the preset "improved"
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.labels = labels.data();
  args.count = count.data();
  if (!run(args, fcos_ops::postprocess_workspace_size, fcos_ops::postprocess, context)) {
    return false;
  }

  // A score is sqrt(p q), q = 1/2.
  const auto score = [](double logit) { return std::sqrt(0.5 / (1 + std::exp(-logit))); };
  const std::vector<float> corners = {0, 0, 8, 8, 8, 0, 16, 8, 0, 0, 0, 0};
  const bool right[] = {agree("detections", static_cast<double>(count.read()[0]), 2),
                        agree("first score", scores.read()[0], score(2)),
                        agree("second score", scores.read()[1], score(1)),
                        labels.read() == std::vector<std::int64_t>{1, 0, -1},
                        boxes.read() == corners};
  return right[0] && right[1] && right[2] && right[3] && right[4];
}
