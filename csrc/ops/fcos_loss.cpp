// The whole FCOS loss: checks, then the driver of the device.
#include "fcos_ops/fcos_loss.h"

#include <initializer_list>

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check_heads(const FcosLossArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("fcos_loss: num_levels must be in [0, kMaxLevels]");
  }
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = args.levels[i];
    for (const LevelView* view : {&args.class_logits[i], &args.ltrb[i], &args.centerness[i]}) {
      if (view->height != level.height || view->width != level.width) {
        return invalid("fcos_loss: the head outputs of a level must have the size of the level");
      }
    }
  }
  const bool is_double = args.class_dtype == DType::kFloat64;
  for (const DType dtype : {args.class_dtype, args.ltrb_dtype, args.centerness_dtype}) {
    if (!is_floating(dtype) || (dtype == DType::kFloat64) != is_double) {
      return invalid("fcos_loss: head outputs must be floating, and all or none kFloat64");
    }
  }
  if (!is_class_count(args.num_classes)) {
    return invalid("fcos_loss: num_classes must be in [0, kMaxClasses]");
  }
  return {};
}

Status check(const FcosLossArgs& args) {
  if (const Status status = check_heads(args); !status.ok()) return status;
  const bool empty = count_rows(args.class_logits, args.num_levels) * args.batch == 0;
  if (!empty && (args.matched == nullptr || args.normalizers == nullptr)) {
    return invalid("fcos_loss: matched and normalizers must be given");
  }
  if (!is_floating(args.box_dtype) || !is_integer(args.label_dtype)) {
    return invalid("fcos_loss: box_dtype must be floating, label_dtype kInt32 or kInt64");
  }
  if (args.box_loss < IouKind::kIou || args.box_loss > IouKind::kCiou) {
    return invalid("fcos_loss: box_loss must be one of IouKind");
  }
  if (!(args.eps >= 1.17549435e-38 && args.eps <= 3e38)) {
    return invalid("fcos_loss: eps must be finite and at least 1.2e-38");
  }
  if (!is_focal_gamma(args.gamma)) return invalid("fcos_loss: gamma must be in [0, 3e38]");
  return {};
}

}  // namespace

std::size_t fcos_loss_workspace_size(const FcosLossArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::fcos_loss_workspace_size(args)
                         : cuda::fcos_loss_workspace_size(args);
}

Status fcos_loss(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (workspace.size < fcos_loss_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "fcos_loss: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::fcos_loss(args, workspace, context)
                         : cuda::fcos_loss(args, workspace, context);
}

Status fcos_scale_gradients(const FcosScaleArgs& args, const Context& context) {
  if (!is_level_count(args.num_levels)) {
    return invalid("fcos_scale_gradients: num_levels must be in [0, kMaxLevels]");
  }
  bool any_double = false, all_double = true;
  for (const HeadGradient& head : args.heads) {
    if (head.gradient == nullptr) continue;
    if (!is_floating(head.dtype) || head.scale == nullptr) {
      return invalid("fcos_scale_gradients: a gradient needs a floating dtype and a scale");
    }
    const bool is_double = head.dtype == DType::kFloat64;
    any_double = any_double || is_double;
    all_double = all_double && is_double;
  }
  if (any_double && !all_double) {
    return invalid("fcos_scale_gradients: all gradients or none must be kFloat64");
  }
  return on_cpu(context) ? cpu::fcos_scale_gradients(args, context)
                         : cuda::fcos_scale_gradients(args, context);
}

}  // namespace fcos_ops
