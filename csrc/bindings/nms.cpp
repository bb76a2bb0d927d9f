#include "fcos_ops/nms.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_nms(Arguments& in) {
  NmsArgs args;
  in.read(args.boxes, args.box_dtype, args.scores, args.score_dtype, args.num_boxes, args.classes,
          args.class_dtype, args.offsets, args.offset_dtype, args.num_images);
  in.read(args.iou_threshold, args.score_threshold, args.max_detections, args.keep, args.count);
  return run(in, args, nms_workspace_size, nms);
}

}  // namespace fcos_ops::bindings
