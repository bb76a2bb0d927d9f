#include "fcos_ops/nms.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

void nms(Address boxes, int box_dtype, Address scores, int score_dtype, std::int64_t num_boxes,
         Address classes, int class_dtype, Address offsets, int offset_dtype,
         std::int64_t num_images, double iou_threshold, double score_threshold,
         std::int64_t max_detections, Address keep, Address count, Address workspace,
         std::size_t workspace_size, std::int32_t device, Address stream,
         std::int32_t num_threads) {
  NmsArgs args;
  args.boxes = pointer(boxes);
  args.scores = pointer(scores);
  args.box_dtype = static_cast<DType>(box_dtype);
  args.score_dtype = static_cast<DType>(score_dtype);
  args.num_boxes = num_boxes;
  args.classes = pointer(classes);
  args.class_dtype = static_cast<DType>(class_dtype);
  args.offsets = pointer(offsets);
  args.offset_dtype = static_cast<DType>(offset_dtype);
  args.num_images = num_images;
  args.iou_threshold = iou_threshold;
  args.score_threshold = score_threshold;
  args.max_detections = max_detections;
  args.keep = static_cast<std::int64_t*>(pointer(keep));
  args.count = static_cast<std::int64_t*>(pointer(count));
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = fcos_ops::nms(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(int box_dtype, int score_dtype, std::int64_t num_boxes,
                           std::int64_t num_images, std::int32_t device) {
  NmsArgs args;
  args.box_dtype = static_cast<DType>(box_dtype);
  args.score_dtype = static_cast<DType>(score_dtype);
  args.num_boxes = num_boxes;
  args.num_images = num_images;
  return nms_workspace_size(args, {device, nullptr, 1});
}

}  // namespace

void bind_nms(py::module_& m) {
  m.def("nms", &nms);
  m.def("nms_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
