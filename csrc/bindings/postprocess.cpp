#include "fcos_ops/postprocess.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
std::size_t bound_postprocess(Arguments& in) {
  HeadLevels heads;
  std::array<AssignmentLevel, kMaxLevels> pyramid;
  std::array<PostprocessLevel, kMaxLevels> levels;
  PostprocessArgs args;
  in.read_heads(heads, args);
  args.levels = levels.data();
  if (read_assignment_levels(in, pyramid) != args.num_levels) {
    throw std::invalid_argument("levels: unequal lengths");
  }
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    levels[i] = {pyramid[i].stride_y, pyramid[i].stride_x, pyramid[i].scale};
  }
  in.read(args.batch, args.num_classes, args.image_sizes, args.original_sizes,
          args.image_size_dtype, args.normalized, args.location_offset);
  in.read(args.threshold_on_score, args.rank_by_score, args.square_root, args.score_threshold,
          args.candidates_per_level, args.iou_threshold, args.max_detections, args.clip_before_nms,
          args.drop_empty, args.class_agnostic, args.max_detections_per_class);
  in.read(args.boxes, args.scores, args.labels, args.count);
  return run(in, args, postprocess_workspace_size, postprocess);
}

}  // namespace fcos_ops::bindings
