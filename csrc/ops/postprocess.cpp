// Post-processing: checks, then the driver of the device.
#include "fcos_ops/postprocess.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const PostprocessArgs& args) {
  if (!is_level_count(args.num_levels)) {
    return invalid("postprocess: num_levels must be in [0, kMaxLevels]");
  }
  if (!is_class_count(args.num_classes)) {
    return invalid("postprocess: num_classes must be in [0, kMaxClasses]");
  }
  const std::int64_t channels = std::max<std::int64_t>(args.num_classes, 4);
  if (!are_levels(args.class_logits, args.num_levels, args.batch, channels)) {
    return invalid(
        "postprocess: class_logits must be given; batch and sizes must be >= 0, at most "
        "kMaxElements in all");
  }
  if (!is_floating(args.class_dtype)) return invalid("postprocess: class_dtype must be floating");
  // Any limit will do for no images.
  if (args.max_detections < 0 ||
      (args.batch > 0 && !are_sizes({args.batch, args.max_detections, 4}))) {
    return invalid("postprocess: max_detections must be >= 0, of all images at most kMaxElements");
  }
  if (args.candidates_per_level < 0) {
    return invalid("postprocess: candidates_per_level must be >= 0");
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

Status check_heads(const PostprocessArgs& args) {
  const auto is_head = [&](const LevelView* views, std::int64_t channels) {
    return are_views(views, args.class_logits, args.num_levels, args.batch * channels);
  };
  if (!is_head(args.class_logits, args.num_classes) || !is_head(args.ltrb, 4) ||
      !is_head(args.centerness, 1)) {
    return invalid("postprocess: the head outputs of a level must have data and one size");
  }
  const bool is_double = args.class_dtype == DType::kFloat64;
  for (const DType dtype : {args.ltrb_dtype, args.centerness_dtype}) {
    if (!is_floating(dtype) || (dtype == DType::kFloat64) != is_double) {
      return invalid("postprocess: head outputs must be floating, and all or none kFloat64");
    }
  }
  if (args.levels == nullptr && args.num_levels > 0) {
    return invalid("postprocess: levels must be given");
  }
  return {};
}

Status check_options(const PostprocessArgs& args) {
  if (args.batch > 0 && args.image_sizes == nullptr) {
    return invalid("postprocess: image_sizes must be given");
  }
  if (!is_integer(args.image_size_dtype)) {
    return invalid("postprocess: image_size_dtype must be kInt32 or kInt64");
  }
  if (!(args.iou_threshold >= 0.0 && args.iou_threshold <= 1.0)) {
    return invalid("postprocess: iou_threshold must be in [0, 1]");
  }
  if (args.max_detections_per_class < 0) {
    return invalid("postprocess: max_detections_per_class must be >= 0");
  }
  return {};
}

Status check_outputs(const PostprocessArgs& args) {
  if (args.batch == 0) return {};
  if (args.count == nullptr ||
      (args.max_detections > 0 && (!args.boxes || !args.scores || !args.labels))) {
    return invalid("postprocess: boxes, scores, labels and count must be given");
  }
  return {};
}

std::size_t workspace_size(const PostprocessArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::postprocess_workspace_size(args, context)
                         : cuda::postprocess_workspace_size(args);
}

constexpr Op<PostprocessArgs> kOp = {"postprocess: workspace must be as its query says",
                                     workspace_size,
                                     cpu::postprocess,
                                     cuda::postprocess,
                                     {check_sizes, check_heads, check_options, check_outputs}};

}  // namespace

std::size_t postprocess_workspace_size(const PostprocessArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status postprocess(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
