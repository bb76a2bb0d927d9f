#include "fcos_ops/postprocess.h"

#include "random.h"

namespace fuzz {
namespace {

// A [batch, channels, height, width] head in memory of exactly its size: NCHW or channels_last.
struct Head {
  Head(Random& random, std::int64_t batch, std::int64_t channels, std::int64_t height,
       std::int64_t width, float low, float high)
      : values(batch * channels * height * width) {
    for (float& value : values) value = random.nasty(low, high);
    const bool last = random.chance(0.5);
    const std::int64_t plane = height * width;
    view = {values.data(),
            height,
            width,
            channels * plane,
            last ? width * channels : width,
            last ? channels : 1,
            last ? 1 : plane};
  }
  std::vector<float> values;
  fcos_ops::LevelView view;
};

}  // namespace

void postprocess(Random& random) {
  const std::int64_t batch = random.integer(0, 2), classes = random.integer(0, 90);
  const std::int64_t num_levels = random.integer(0, 4);
  std::vector<Head> heads;
  std::vector<fcos_ops::LevelView> class_logits, ltrb, centerness;
  std::vector<fcos_ops::PostprocessLevel> levels;
  for (std::int64_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = random.integer(0, 25), width = random.integer(0, 60);
    heads.emplace_back(random, batch, classes, height, width, -5, 5);
    class_logits.push_back(heads.back().view);
    heads.emplace_back(random, batch, 4, height, width, -1, 6);
    ltrb.push_back(heads.back().view);
    heads.emplace_back(random, batch, 1, height, width, -3, 3);
    centerness.push_back(heads.back().view);
    levels.push_back({8 << i, 8 << i, 8.0 * static_cast<double>(1 << i)});
  }
  std::vector<std::int64_t> sizes(2 * batch);
  for (auto& size : sizes) size = random.integer(0, 500);
  const std::int64_t limit = random.integer(0, 150);
  std::vector<float> boxes(batch * limit * 4), scores(batch * limit);
  std::vector<std::int64_t> labels(batch * limit), count(batch);

  fcos_ops::PostprocessArgs args;
  args.class_logits = class_logits.data();
  args.ltrb = ltrb.data();
  args.centerness = centerness.data();
  args.levels = levels.data();
  args.num_levels = static_cast<std::int32_t>(num_levels);
  args.batch = batch;
  args.num_classes = classes;
  args.image_sizes = sizes.data();
  args.threshold_on_score = random.chance(0.5);
  args.rank_by_score = random.chance(0.5);
  args.square_root = random.chance(0.5);
  args.score_threshold = random.nasty(-0.5, 1);
  args.candidates_per_level = random.chance(0.3) ? INT64_MAX : random.integer(0, 2000);
  args.iou_threshold = random.real(0, 1);
  args.max_detections = limit;
  args.clip_before_nms = random.chance(0.5);
  args.drop_empty = random.chance(0.5);
  args.boxes = boxes.data();
  args.scores = scores.data();
  args.labels = labels.data();
  args.count = count.data();
  const fcos_ops::Context context = random.context();
  Scratch scratch(fcos_ops::postprocess_workspace_size(args, context));
  require(fcos_ops::postprocess(args, scratch.workspace(), context));
}

}  // namespace fuzz
