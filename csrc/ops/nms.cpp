// Non-maximum suppression: checks, then the driver of the device.
#include "fcos_ops/nms.h"

#include "ops/op.h"

namespace fcos_ops {
namespace {

Status check_sizes(const NmsArgs& args) {
  // Any limit will do for no images.
  const bool has_room = args.num_images <= 0 || are_sizes({args.num_images, args.max_detections});
  return require({
      {are_sizes({args.num_boxes, 4}) && are_sizes({args.num_images}),
       "nms: num_boxes and num_images must be >= 0, at most kMaxElements in all"},
      {args.max_detections >= 0 && has_room,
       "nms: max_detections must be >= 0, of all images at most kMaxElements"},
      {is_floating(args.box_dtype) && is_floating(args.score_dtype),
       "nms: box_dtype and score_dtype must be floating"},
  });
}

Status check_data(const NmsArgs& args) {
  const bool has_outputs = args.count && (args.keep || args.max_detections == 0);
  return require({
      {args.num_boxes == 0 || (args.boxes && args.scores), "nms: boxes and scores must be given"},
      {is_integer(args.class_dtype) && is_integer(args.offset_dtype),
       "nms: class_dtype and offset_dtype must be kInt32 or kInt64"},
      {args.offsets || args.num_images == 1, "nms: offsets must be given, but for one image"},
      {is_iou_threshold(args.iou_threshold), "nms: iou_threshold must be in [0, 1]"},
      {args.num_images == 0 || has_outputs, "nms: keep and count must be given"},
  });
}

constexpr Op<NmsArgs> kOp = {"nms: workspace must be as its query says",
                             "nms: this library was built without CUDA",
                             {check_sizes, check_data}};

}  // namespace

std::size_t nms_workspace_size(const NmsArgs& args, const Context& context) {
  return kOp.workspace_size(args, context);
}

Status nms(const NmsArgs& args, Workspace workspace, const Context& context) {
  return kOp.run(args, workspace, context);
}

}  // namespace fcos_ops
