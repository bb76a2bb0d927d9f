#include "fcos_ops/fcos_loss.h"

#include <array>

#include "bindings/arguments.h"
#include "bindings/words.h"

namespace fcos_ops::bindings {
namespace {

LossRule read_rule(Arguments& in) {
  LossRule rule;
  rule.box_loss = in.word<IouKind>("box_loss", kIouKinds);
  rule.box_weight = in.word<BoxWeight>("box_weight", kBoxWeights);
  rule.normalizer = in.word<LossNormalizer>("normalizer", kNormalizers);
  rule.alpha = in.number("alpha");
  rule.gamma = in.number("gamma");
  rule.eps = in.number("eps");
  return rule;
}

}  // namespace

std::size_t bound_fcos_loss(Arguments& in) {
  FcosLossArgs args;
  HeadLevels heads(in);
  std::array<MutableLevelView, kMaxLevels> class_views, ltrb_views, centerness_views;
  set_heads(heads, args);
  args.levels = heads.levels.data();
  const std::int64_t rows = args.batch * count_locations(heads.levels, args.num_levels);
  const DType maths = maths_of(args.class_dtype);

  args.matched = in.values<std::int32_t>("matched", DType::kInt32, rows);
  const Tensor boxes = in.tensor("boxes"), labels = in.tensor("labels");
  set_boxes(boxes, labels, args);
  args.location_offset = in.number("location_offset");
  args.normalize_ltrb = in.boolean("normalize_ltrb");
  args.loss = read_rule(in);
  const bool per_image = args.loss.normalizer == LossNormalizer::kPerImage;
  args.normalizers = in.values("normalizers", maths, per_image ? 2 * args.batch : 2);
  args.expected_factor = in.number("expected_factor");
  args.expected_scale = in.optional_values("expected_scale", maths, 1);
  args.class_gradient_scale = in.optional_values("grad_classification", maths, 1);
  args.ltrb_gradient_scale = in.optional_values("grad_bbox_regression", maths, 1);
  args.centerness_gradient_scale = in.optional_values("grad_centerness", maths, 1);
  args.only_unexpected = in.boolean("only_unexpected");

  args.class_loss = in.optional_values("classification", maths, 1);
  args.ltrb_loss = in.optional_values("bbox_regression", maths, 1);
  args.centerness_loss = in.optional_values("centerness_loss", maths, 1);
  args.class_gradient =
      read_like(in, "cls_logits_gradient", heads.class_logits, "levels", class_views);
  args.ltrb_gradient = read_like(in, "ltrb_gradient", heads.ltrb, "levels", ltrb_views);
  args.centerness_gradient =
      read_like(in, "centerness_gradient", heads.centerness, "levels", centerness_views);
  return run(in, args, fcos_loss_workspace_size, fcos_loss);
}

}  // namespace fcos_ops::bindings
