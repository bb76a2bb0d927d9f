// The whole FCOS loss: checks, then the driver of the device.
#include "fcos_ops/fcos_loss.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const FcosLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("fcos_loss: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_class_count(args.num_classes)) {
    return invalid("fcos_loss: num_classes must be in [0, kMaxClasses]");
  }
  const std::int64_t channels = std::max<std::int64_t>(args.num_classes, 4);
  if (!are_levels(args.class_logits, args.num_levels, args.batch, channels)) {
    return invalid(
        "fcos_loss: class_logits must be given; batch and sizes must be >= 0, at most kMaxElements "
        "in all");
  }
  const bool is_double = args.class_dtype == DType::kFloat64;
  for (const DType dtype : {args.class_dtype, args.ltrb_dtype, args.centerness_dtype}) {
    if (!is_floating(dtype) || (dtype == DType::kFloat64) != is_double) {
      return invalid("fcos_loss: head outputs must be floating, and all or none kFloat64");
    }
  }
  return {};
}

// True if the views of a head have the sizes of the class logits, and data.
template <class View>
bool is_head(const FcosLossArgs& args, const View* views, std::int64_t channels) {
  return are_views(views, args.class_logits, args.num_levels, args.batch * channels);
}

Status check_levels(const FcosLossArgs& args) {
  const LevelView* const sizes = args.class_logits;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    if (args.levels == nullptr || args.levels[i].height != sizes[i].height ||
        args.levels[i].width != sizes[i].width) {
      return invalid("fcos_loss: levels must be given, of the sizes of the head outputs");
    }
  }
  if (!are_assignment_levels(args.levels, args.num_levels)) {
    return invalid("fcos_loss: levels must have sizes in [0, 2^31 - 2], strides > 0");
  }
  return {};
}

Status check_heads(const FcosLossArgs& args) {
  if (!is_head(args, args.class_logits, args.num_classes) || !is_head(args, args.ltrb, 4) ||
      !is_head(args, args.centerness, 1)) {
    return invalid("fcos_loss: the head outputs of a level must have data and one size");
  }
  if ((args.class_gradient && !is_head(args, args.class_gradient, args.num_classes)) ||
      (args.ltrb_gradient && !is_head(args, args.ltrb_gradient, 4)) ||
      (args.centerness_gradient && !is_head(args, args.centerness_gradient, 1))) {
    return invalid("fcos_loss: gradients must have data and the sizes of their heads");
  }
  return {};
}

Status check_options(const FcosLossArgs& args) {
  const bool empty = count_rows(args.class_logits, args.num_levels) * args.batch == 0;
  if (!empty && (args.matched == nullptr || args.normalizers == nullptr)) {
    return invalid("fcos_loss: matched and normalizers must be given");
  }
  if (!are_sizes({args.num_boxes, 4})) {
    return invalid("fcos_loss: num_boxes must be >= 0, and 4 of them at most kMaxElements");
  }
  if (args.num_boxes > 0 && (args.boxes == nullptr || args.labels == nullptr)) {
    return invalid("fcos_loss: boxes and labels must be given");
  }
  if (!is_floating(args.box_dtype) || !is_integer(args.label_dtype)) {
    return invalid("fcos_loss: box_dtype must be floating, label_dtype kInt32 or kInt64");
  }
  if (!is_enumerator(args.box_loss, IouKind::kCiou)) {
    return invalid("fcos_loss: box_loss must be one of IouKind");
  }
  if (!is_enumerator(args.box_weight, BoxWeight::kUniform)) {
    return invalid("fcos_loss: box_weight must be one of BoxWeight");
  }
  if (!is_iou_eps(args.eps)) return invalid("fcos_loss: eps must be in [1.17549435e-38, 3e38]");
  if (!is_focal_gamma(args.gamma)) return invalid("fcos_loss: gamma must be in [0, 3e38]");
  return {};
}

std::size_t workspace_size(const FcosLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::fcos_loss_workspace_size(args)
                         : cuda::fcos_loss_workspace_size(args);
}

constexpr Op<FcosLossArgs> kOp = {"fcos_loss: workspace must be as its query says",
                                  workspace_size,
                                  cpu::fcos_loss,
                                  cuda::fcos_loss,
                                  {check_sizes, check_levels, check_heads, check_options}};

}  // namespace

std::size_t fcos_loss_workspace_size(const FcosLossArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status fcos_loss(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
