#include "fcos_ops/nms.h"

#include "random.h"

namespace fuzz {

void nms(Random& random) {
  const std::int64_t images = random.integer(0, 3);
  const std::int64_t count = images == 0 ? 0 : random.integer(0, 300);
  const std::vector<float> boxes = random.boxes(count, 200);
  std::vector<float> scores(count);
  for (float& score : scores) score = random.chance(0.3) ? 0.5f : random.nasty(-1, 1);
  std::vector<std::int64_t> classes(count);
  for (auto& id : classes)
    id = random.chance(0.1) ? random.integer(INT64_MIN, INT64_MAX) : random.integer(-2, 5);
  const std::vector<std::int64_t> offsets = random.offsets(images, count);
  const std::int64_t limit = random.integer(0, 100);
  std::vector<std::int64_t> keep(images * limit), kept(images);

  fcos_ops::NmsArgs args;
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.num_boxes = count;
  if (random.chance(0.7)) args.classes = classes.data();
  args.offsets = offsets.data();
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
