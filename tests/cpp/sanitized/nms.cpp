#include "fcos_ops/nms.h"

#include "arrays.h"

namespace fuzz {

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
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::nms_workspace_size(args, context));
  require(fcos_ops::nms(args, scratch.workspace(), context));
}

}  // namespace fuzz
