#include "fcos_ops/nms.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {

std::size_t bound_nms(Arguments& in) {
  NmsArgs args;
  const Tensor boxes = in.tensor("boxes"), scores = in.tensor("scores");
  boxes.expect_dtype(kFloating);
  boxes.expect_rank(2);
  const std::int64_t num_boxes = boxes.size(0);
  boxes.expect_shape({num_boxes, 4});
  scores.expect_dtype(kFloating);
  scores.expect_shape({num_boxes});
  args.boxes = boxes.data();
  args.box_dtype = boxes.dtype();
  args.scores = scores.data();
  args.score_dtype = scores.dtype();
  args.num_boxes = num_boxes;
  if (const Tensor classes = in.optional_tensor("classes"); classes.given()) {
    classes.expect_dtype(kIntegers);
    classes.expect_shape({num_boxes});
    args.classes = classes.data();
    args.class_dtype = classes.dtype();
  }
  if (const Tensor offsets = in.optional_tensor("offsets"); offsets.given()) {
    expect_offsets(offsets, num_boxes);
    args.offsets = offsets.data();
    args.offset_dtype = offsets.dtype();
    args.num_images = offsets.size(0) - 1;
  }
  args.iou_threshold = in.number("iou_threshold");
  args.score_threshold = in.number("score_threshold");
  const Tensor keep = in.tensor("keep");
  args.max_detections = keep.rank() > 0 ? keep.size(keep.rank() - 1) : 0;
  keep.expect_dtype(only(DType::kInt64));
  keep.expect_count(args.num_images * args.max_detections);
  args.keep = static_cast<std::int64_t*>(keep.data());
  args.count = in.values<std::int64_t>("count", DType::kInt64, args.num_images);
  return run(in, args, nms_workspace_size, nms);
}

}  // namespace fcos_ops::bindings
