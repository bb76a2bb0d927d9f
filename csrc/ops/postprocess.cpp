// Post-processing: checks, then the driver of the device.
#include "fcos_ops/postprocess.h"

#include <algorithm>

#include "cpu/ops.h"
#include "cuda/ops.h"
#include "ops/checks.h"

namespace fcos_ops {
namespace {

Status check(const PostprocessArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("postprocess: num_levels must be in [0, kMaxLevels]");
  }
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    for (const LevelView* view : {&args.ltrb[i], &args.centerness[i]}) {
      if (view->height != args.class_logits[i].height ||
          view->width != args.class_logits[i].width) {
        return invalid("postprocess: the head outputs of a level must have one size");
      }
    }
  }
  const bool is_double = args.class_dtype == DType::kFloat64;
  for (const DType dtype : {args.class_dtype, args.ltrb_dtype, args.centerness_dtype}) {
    if (!is_floating(dtype) || (dtype == DType::kFloat64) != is_double) {
      return invalid("postprocess: head outputs must be floating, and all or none kFloat64");
    }
  }
  if (!is_integer(args.image_size_dtype)) {
    return invalid("postprocess: image_size_dtype must be kInt32 or kInt64");
  }
  if (!(args.iou_threshold >= 0.0 && args.iou_threshold <= 1.0)) {
    return invalid("postprocess: iou_threshold must be in [0, 1]");
  }
  if (args.candidates_per_level < 0 || args.max_detections < 0 ||
      args.max_detections_per_class < 0) {
    return invalid(
        "postprocess: candidates_per_level, max_detections and max_detections_per_class must be >= "
        "0");
  }
  std::int64_t winners = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const LevelView& view = args.class_logits[i];
    winners += std::min(args.candidates_per_level, view.height * view.width * args.num_classes);
  }
  if (winners >> 31) {
    return invalid("postprocess: an image must have fewer than 2^31 candidates in all levels");
  }
  return {};
}

}  // namespace

std::size_t postprocess_workspace_size(const PostprocessArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::postprocess_workspace_size(args, context)
                         : cuda::postprocess_workspace_size(args);
}

Status postprocess(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  if (const Status status = check(args); !status.ok()) return status;
  if (workspace.size < postprocess_workspace_size(args, context)) {
    return {kWorkspaceTooSmall, "postprocess: workspace is smaller than its query says"};
  }
  return on_cpu(context) ? cpu::postprocess(args, workspace, context)
                         : cuda::postprocess(args, workspace, context);
}

}  // namespace fcos_ops
