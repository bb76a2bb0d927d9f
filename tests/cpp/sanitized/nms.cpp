#include "fcos_ops/nms.h"

#include <cmath>

#include "calls.h"

namespace fuzz {

void list_breaks(Breaks& breaks, fcos_ops::NmsArgs& args) {
  breaks.size("num_boxes", args.num_boxes);
  breaks.size("num_images", args.num_images);
  breaks.limit("max_detections", args.max_detections);
  if (args.num_images > 0) breaks.size("max_detections", args.max_detections);
  breaks.floating("box_dtype", args.box_dtype);
  breaks.floating("score_dtype", args.score_dtype);
  breaks.integral("class_dtype", args.class_dtype);
  breaks.integral("offset_dtype", args.offset_dtype);
  breaks.field<double>("iou_threshold", args.iou_threshold, {-1.0, 1.5, NAN, -INFINITY, INFINITY});
  breaks.pointer("boxes", args.boxes, args.num_boxes > 0);
  breaks.pointer("scores", args.scores, args.num_boxes > 0);
  breaks.pointer("offsets", args.offsets, args.num_images != 1);
  breaks.pointer("keep", args.keep, args.num_images * args.max_detections > 0);
  breaks.pointer("count", args.count, args.num_images > 0);
  if (args.num_images > 0) {
    // Kernels clamp them, as nobody could wait to be told.
    breaks.integers("offsets", args.offsets, args.offset_dtype, args.num_images + 1,
                    kDevice == fcos_ops::kCpuDevice);
  }
}

void nms(Random& random) {
  const std::int64_t images = random.integer(0, 3);
  const std::int64_t count = images == 0 ? 0 : random.integer(0, 300);
  Array corners = boxes(random, floating(random), count, 200);
  Array scores(random, floating(random), count), classes(random, integer(random), count);
  for (std::int64_t i = 0; i < count; ++i) {
    scores.set(i, random.chance(0.3) ? 0.5f : random.nasty(-1, 1));
    classes.set_integer(
        i, random.chance(0.1) ? random.integer(INT64_MIN, INT64_MAX) : random.integer(-2, 5));
  }
  Array starts = offsets(random, integer(random), images, count);
  const std::int64_t limit = random.integer(0, 100);
  std::vector<std::int64_t> keep(images * limit), kept(images);

  fcos_ops::NmsArgs args;
  args.boxes = corners.data();
  args.scores = scores.data();
  args.box_dtype = corners.dtype();
  args.score_dtype = scores.dtype();
  args.num_boxes = count;
  if (random.chance(0.7)) args.classes = classes.data();
  args.class_dtype = classes.dtype();
  args.offsets = starts.data();
  args.offset_dtype = starts.dtype();
  args.num_images = images;
  args.iou_threshold = random.real(0, 1);
  if (random.chance(0.5)) args.score_threshold = 0.0;
  args.max_detections = limit;
  args.keep = keep.data();
  args.count = kept.data();
  call(random, args, fcos_ops::nms_workspace_size, fcos_ops::nms);
  if (is_hostile && images > 0 && random.chance(0.1)) {
    call_while_written(args, fcos_ops::nms_workspace_size, fcos_ops::nms, starts);
  }
}

}  // namespace fuzz
