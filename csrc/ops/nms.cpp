// Non-maximum suppression: checks, then the driver of the device.
#include "fcos_ops/nms.h"

#include "cpu/drivers.h"
#include "cuda/drivers.h"
#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const NmsArgs& args) {
  if (!are_sizes({args.num_boxes, 4}) || !are_sizes({args.num_images})) {
    return invalid("nms: num_boxes and num_images must be >= 0, at most kMaxElements in all");
  }
  // Any limit will do for no images.
  if (args.max_detections < 0 ||
      (args.num_images > 0 && !are_sizes({args.num_images, args.max_detections}))) {
    return invalid("nms: max_detections must be >= 0, of all images at most kMaxElements");
  }
  if (!is_floating(args.box_dtype) || !is_floating(args.score_dtype)) {
    return invalid("nms: box_dtype and score_dtype must be floating");
  }
  return {};
}

Status check_data(const NmsArgs& args) {
  if (args.num_boxes > 0 && (args.boxes == nullptr || args.scores == nullptr)) {
    return invalid("nms: boxes and scores must be given");
  }
  if (!is_integer(args.class_dtype) || !is_integer(args.offset_dtype)) {
    return invalid("nms: class_dtype and offset_dtype must be kInt32 or kInt64");
  }
  if (args.offsets == nullptr && args.num_images != 1) {
    return invalid("nms: offsets must be given, but for one image");
  }
  if (!(args.iou_threshold >= 0.0 && args.iou_threshold <= 1.0)) {
    return invalid("nms: iou_threshold must be in [0, 1]");
  }
  if (args.num_images > 0 &&
      (args.count == nullptr || (args.max_detections > 0 && args.keep == nullptr))) {
    return invalid("nms: keep and count must be given");
  }
  return {};
}

std::size_t workspace_size(const NmsArgs& args, const Context& context) {
  return on_cpu(context) ? cpu::nms_workspace_size(args, context) : cuda::nms_workspace_size(args);
}

constexpr Op<NmsArgs> kOp = {"nms: workspace must be as its query says",
                             workspace_size,
                             cpu::nms,
                             cuda::nms,
                             {check_sizes, check_data}};

}  // namespace

std::size_t nms_workspace_size(const NmsArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
