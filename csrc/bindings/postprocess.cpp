#include "fcos_ops/postprocess.h"

#include "bindings/arguments.h"

namespace fcos_ops::bindings {
namespace {

// The vertical strides, the horizontal ones and the scales of `count` levels.
void read_geometry(Arguments& in, std::int32_t count,
                   std::array<PostprocessLevel, kMaxLevels>& levels) {
  const auto strides_y = in.read_sequence(), strides_x = in.read_sequence();
  const auto scales = in.read_sequence();
  if (strides_y.size() != count || strides_x.size() != count || scales.size() != count) {
    throw std::invalid_argument("levels: unequal lengths");
  }
  for (std::int32_t i = 0; i < count; ++i) {
    Arguments::convert(strides_y[i], levels[i].stride_y);
    Arguments::convert(strides_x[i], levels[i].stride_x);
    Arguments::convert(scales[i], levels[i].scale);
  }
}

}  // namespace

std::size_t bound_postprocess(Arguments& in) {
  HeadLevels heads;
  std::array<PostprocessLevel, kMaxLevels> levels;
  PostprocessArgs args;
  in.read_heads(heads, args);
  args.levels = levels.data();
  read_geometry(in, args.num_levels, levels);
  in.read(args.batch, args.num_classes, args.image_sizes, args.original_sizes,
          args.image_size_dtype, args.normalized, args.location_offset);
  in.read(args.threshold_on_score, args.rank_by_score, args.square_root, args.score_threshold,
          args.candidates_per_level, args.iou_threshold, args.max_detections, args.clip_before_nms,
          args.drop_empty, args.class_agnostic, args.max_detections_per_class);
  in.read(args.boxes, args.scores, args.labels, args.count);
  return run(in, args, postprocess_workspace_size, postprocess);
}

}  // namespace fcos_ops::bindings
