#include "fcos_ops/postprocess.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

using LevelGeometry = std::vector<std::tuple<std::int64_t, std::int64_t, double>>;

void run_postprocess(const LevelTuples& class_logits, int class_dtype, const LevelTuples& ltrb,
                     int ltrb_dtype, const LevelTuples& centerness, int centerness_dtype,
                     const LevelGeometry& geometry, std::int64_t batch, std::int64_t num_classes,
                     Address image_sizes, int image_size_dtype, bool normalized,
                     double location_offset, bool threshold_on_score, bool rank_by_score,
                     bool square_root, double score_threshold, std::int64_t candidates_per_level,
                     double iou_threshold, std::int64_t max_detections, bool clip_before_nms,
                     bool drop_empty, Address boxes, Address scores, Address labels, Address count,
                     Address workspace, std::size_t workspace_size, std::int32_t device,
                     Address stream, std::int32_t num_threads) {
  const auto class_views = views<LevelView>(class_logits);
  const auto ltrb_views = views<LevelView>(ltrb);
  const auto center_views = views<LevelView>(centerness);
  std::vector<PostprocessLevel> levels;
  for (const auto& [stride_y, stride_x, scale] : geometry) {
    levels.push_back({stride_y, stride_x, scale});
  }
  PostprocessArgs args;
  args.class_logits = class_views.data();
  args.ltrb = ltrb_views.data();
  args.centerness = center_views.data();
  args.class_dtype = static_cast<DType>(class_dtype);
  args.ltrb_dtype = static_cast<DType>(ltrb_dtype);
  args.centerness_dtype = static_cast<DType>(centerness_dtype);
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(class_views.size());
  args.batch = batch;
  args.num_classes = num_classes;
  args.image_sizes = pointer(image_sizes);
  args.image_size_dtype = static_cast<DType>(image_size_dtype);
  args.normalized = normalized;
  args.location_offset = location_offset;
  args.threshold_on_score = threshold_on_score;
  args.rank_by_score = rank_by_score;
  args.square_root = square_root;
  args.score_threshold = score_threshold;
  args.candidates_per_level = candidates_per_level;
  args.iou_threshold = iou_threshold;
  args.max_detections = max_detections;
  args.clip_before_nms = clip_before_nms;
  args.drop_empty = drop_empty;
  args.boxes = pointer(boxes);
  args.scores = pointer(scores);
  args.labels = static_cast<std::int64_t*>(pointer(labels));
  args.count = static_cast<std::int64_t*>(pointer(count));
  const Context context = {device, pointer(stream), num_threads};
  py::gil_scoped_release release;
  const Status status = postprocess(args, {pointer(workspace), workspace_size}, context);
  py::gil_scoped_acquire acquire;
  raise_unless_ok(status);
}

std::size_t workspace_size(const LevelTuples& class_logits, int class_dtype, std::int64_t batch,
                           std::int64_t num_classes, std::int64_t candidates_per_level,
                           std::int64_t max_detections, std::int32_t device,
                           std::int32_t num_threads) {
  const auto class_views = views<LevelView>(class_logits);
  PostprocessArgs args;
  args.class_logits = class_views.data();
  args.class_dtype = static_cast<DType>(class_dtype);
  args.num_levels = static_cast<std::int32_t>(class_views.size());
  args.batch = batch;
  args.num_classes = num_classes;
  args.candidates_per_level = candidates_per_level;
  args.max_detections = max_detections;
  return postprocess_workspace_size(args, {device, nullptr, num_threads});
}

}  // namespace

void bind_postprocess(py::module_& m) {
  m.def("postprocess", &run_postprocess);
  m.def("postprocess_workspace_size", &workspace_size);
}

}  // namespace fcos_ops::bindings
