// The whole FCOS loss: checks, then the driver of the device.
#include "fcos_ops/fcos_loss.h"

#include <algorithm>
#include <iterator>

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const FcosLossArgs& args) {
  const std::int64_t channels = std::max<std::int64_t>(args.num_classes, 4);
  return require({
      {is_level_count(args.num_levels), "fcos_loss: num_levels must be in [0, kMaxLevels]"},
      {is_class_count(args.num_classes), "fcos_loss: num_classes must be in [0, kMaxClasses]"},
      {are_levels(args.class_logits, args.num_levels, args.batch, channels),
       "fcos_loss: class_logits must be given; batch and sizes must be >= 0, at most kMaxElements "
       "in all"},
      {are_head_dtypes({args.class_dtype, args.ltrb_dtype, args.centerness_dtype}),
       "fcos_loss: head outputs must be floating, and all or none kFloat64"},
  });
}

// True if the levels are there and have the sizes of the class logits.
bool has_levels(const FcosLossArgs& args) {
  if (args.levels == nullptr) return args.num_levels == 0;
  return std::equal(args.levels, args.levels + args.num_levels, args.class_logits,
                    [](const AssignmentLevel& level, const LevelView& view) {
                      return level.height == view.height && level.width == view.width;
                    });
}

Status check_heads(const FcosLossArgs& args) {
  const bool given = has_levels(args);
  return require({
      {given, "fcos_loss: levels must be given, of the sizes of the head outputs"},
      {given && are_assignment_levels(args.levels, args.num_levels),
       "fcos_loss: levels must have sizes in [0, 2^31 - 2], strides > 0"},
      {are_heads(args), "fcos_loss: the head outputs of a level must have data and one size"},
      {(!args.class_gradient || is_head(args, args.class_gradient, args.num_classes)) &&
           (!args.ltrb_gradient || is_head(args, args.ltrb_gradient, 4)) &&
           (!args.centerness_gradient || is_head(args, args.centerness_gradient, 1)),
       "fcos_loss: gradients must have data and the sizes of their heads"},
  });
}

Status check_options(const FcosLossArgs& args) {
  const bool empty = count_rows(args.class_logits, args.num_levels) * args.batch == 0;
  return require({
      {empty || (args.matched && args.normalizers),
       "fcos_loss: matched and normalizers must be given"},
      {are_sizes({args.num_boxes, 4}),
       "fcos_loss: num_boxes must be >= 0, and 4 of them at most kMaxElements"},
      {args.num_boxes == 0 || (args.boxes && args.labels),
       "fcos_loss: boxes and labels must be given"},
      {is_floating(args.box_dtype) && is_integer(args.label_dtype),
       "fcos_loss: box_dtype must be floating, label_dtype kInt32 or kInt64"},
      {is_enumerator(args.loss.box_loss, IouKind::kCiou),
       "fcos_loss: box_loss must be one of IouKind"},
      {is_enumerator(args.loss.box_weight, BoxWeight::kUniform),
       "fcos_loss: box_weight must be one of BoxWeight"},
      {is_enumerator(args.loss.normalizer, LossNormalizer::kPerImage),
       "fcos_loss: normalizer must be one of LossNormalizer"},
      {is_iou_eps(args.loss.eps), "fcos_loss: eps must be in [1.17549435e-38, 3e38]"},
      {is_focal_gamma(args.loss.gamma), "fcos_loss: gamma must be in [0, 3e38]"},
  });
}

constexpr Op<FcosLossArgs> kOp = {"fcos_loss: workspace must be as its query says",
                                  "fcos_loss: this library was built without CUDA",
                                  {check_sizes, check_heads, check_options}};

}  // namespace

std::size_t fcos_loss_workspace_size(const FcosLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status fcos_loss(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
