// Post-processing on a CPU. See include/fcos_ops/postprocess.h for what it computes.
//
// Two rounds of threads. The first scans class logits, in bands of locations, and collects the best
// candidates of each band; the second takes an image each: best of every level, boxes, NMS.
#include "fcos_ops/postprocess.h"

#include <algorithm>
#include <cstring>

#include "common/dtypes.h"
#include "common/integers.h"
#include "cpu/common/parallel.h"
#include "cpu/drivers.h"
#include "cpu/nms/nms_image.h"
#include "cpu/postprocess/level_scan.h"
#include "cpu/postprocess/plan.h"
#include "math/decode.h"

namespace fcos_ops::cpu::detection {
namespace {

template <class Real>
class Postprocess {
  using Box = math::Box<Real>;

 public:
  Postprocess(const PostprocessArgs& args, const Context& context, void* workspace)
      : args_(args), plan_(make_plan<Real>(args, context)), memory_(plan_, args, workspace) {}

  std::size_t workspace_size() const { return memory_.scratch.used(); }

  void run(std::int32_t num_threads) {
    parallel_for(args_.batch * plan_.bands, num_threads,
                 [&](std::int64_t i) { scan_band(i / plan_.bands, i % plan_.bands); });
    parallel_for(args_.batch, num_threads, [&](std::int64_t image) { finish_image(image); });
  }

 private:
  void scan_band(std::int64_t image, std::int64_t band) {
    std::int32_t i = 0;
    while (band >= plan_.levels[i].first_band + plan_.levels[i].bands) ++i;
    const LevelPlan& level = plan_.levels[i];
    const std::int64_t first = (band - level.first_band) * level.band_locations;
    const std::int64_t last = std::min(level.locations, first + level.band_locations);
    TopCandidates<Real> best(candidates(image, level, band - level.first_band),
                             args_.rule.candidates_per_level,
                             level.band_locations * args_.num_classes);
    math::dispatch(math::ComputedAs<Real>{}, args_.class_dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      LevelScan<T>(args_, i, image, best).run(first, last);
    });
    memory_.counts[image * plan_.bands + band] = best.select();
  }

  void finish_image(std::int64_t image) {
    std::int64_t found = 0;
    for (std::int32_t i = 0; i < args_.num_levels; ++i) {
      const std::int64_t num_selected = select_topk(image, plan_.levels[i]);
      found = decode_selected(image, i, num_selected, found);
    }
    suppression::NmsOptions options;
    options.iou_threshold = args_.rule.iou_threshold;
    options.class_agnostic = args_.rule.class_agnostic;
    options.max_detections = memory_.max_kept;
    options.max_detections_per_class = args_.rule.max_detections_per_class;
    std::int64_t* const keep = memory_.keep + image * memory_.max_kept;
    const std::int64_t kept = suppression::nms_image<Real, Real, std::int32_t>(
        {boxes(image), scores(image), labels(image), found}, options, 0,
        memory_.nms + image * static_cast<std::int64_t>(memory_.nms_size), keep);
    write(image, keep, kept);
  }

  // Merges a level's bands; its best candidates end up first in memory.
  std::int64_t select_topk(std::int64_t image, const LevelPlan& level) {
    Scored<Real>* const merged = candidates(image, level, 0);
    std::int64_t count = 0;
    for (std::int64_t b = 0; b < level.bands; ++b) {
      const Scored<Real>* const band = candidates(image, level, b);
      const std::int64_t size = memory_.counts[image * plan_.bands + level.first_band + b];
      std::memmove(merged + count, band, static_cast<std::size_t>(size) * sizeof(*band));
      count += size;
    }
    count = select_best(merged, count, args_.rule.candidates_per_level);
    if (args_.rule.rank_by == RankBy::kScore) {
      // NMS orders by score and leaves equals as they lie; until then memory is read in order.
      std::sort(merged, merged + count, [](auto& a, auto& b) { return a.index < b.index; });
    } else {
      std::sort(merged, merged + count, Better());
    }
    return count;
  }

  // Appends a level's selected candidates to the boxes, scores and labels of the image.
  std::int64_t decode_selected(std::int64_t image, std::int32_t i, std::int64_t num_selected,
                               std::int64_t found) {
    const Scored<Real>* const selected = candidates(image, plan_.levels[i], 0);
    const math::ImageSize<Real> size = size_of(args_.image_sizes, image);
    for (std::int64_t w = 0; w < num_selected; ++w) {
      const auto [location, label] = math::divide(selected[w].index, args_.num_classes);
      const auto [y, x] = math::divide(location, args_.class_logits[i].width);
      Box box = decode(image, i, y, x);
      if (args_.rule.clip == ClipTime::kBeforeNms) {
        box = math::clip_box(box, size);
        if (args_.rule.drop_empty && !math::has_area(box)) continue;
      }
      store(box, boxes(image) + 4 * found);
      labels(image)[found] = static_cast<std::int32_t>(label);
      scores(image)[found++] = args_.rule.rank_by == RankBy::kScore
                                   ? selected[w].key
                                   : score(image, i, y, x, selected[w].key);
    }
    return found;
  }

  Box decode(std::int64_t image, std::int32_t i, std::int64_t y, std::int64_t x) const {
    const LevelView& view = args_.ltrb[i];
    const PostprocessLevel& level = args_.levels[i];
    const auto offset = static_cast<Real>(args_.location_offset);
    Real sides[4];
    for (std::int64_t side = 0; side < 4; ++side) {
      sides[side] = read(view, args_.ltrb_dtype, image, y, x, side);
    }
    return math::decode_box<Real>(math::location(x, offset, static_cast<Real>(level.stride_x)),
                                  math::location(y, offset, static_cast<Real>(level.stride_y)),
                                  {sides[0], sides[1], sides[2], sides[3]},
                                  static_cast<Real>(args_.normalized ? level.scale : 1.0));
  }

  Real score(std::int64_t image, std::int32_t i, std::int64_t y, std::int64_t x,
             Real class_score) const {
    const Real center_score =
        math::sigmoid_of_score(read(args_.centerness[i], args_.centerness_dtype, image, y, x, 0));
    return math::combined_score(args_.rule.score, class_score, center_score);
  }

  math::ImageSize<Real> size_of(const void* sizes, std::int64_t image) const {
    return math::read_image_size<Real>(sizes, args_.image_size_dtype, image);
  }

  void write(std::int64_t image, const std::int64_t* keep, std::int64_t kept) {
    const std::int64_t room = args_.rule.max_detections;
    Real* const out_boxes = static_cast<Real*>(args_.boxes) + image * room * 4;
    Real* const out_scores = static_cast<Real*>(args_.scores) + image * room;
    std::int64_t* const out_labels = args_.labels + image * room;
    const math::ImageSize<Real> size = size_of(args_.image_sizes, image);
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < kept; ++j) {
      const Real* const from = boxes(image) + 4 * keep[j];
      Box box = {from[0], from[1], from[2], from[3]};
      if (args_.rule.clip == ClipTime::kAfterNms) {
        box = math::clip_box(box, size);
        if (args_.rule.drop_empty && !math::has_area(box)) continue;
      }
      if (args_.original_sizes != nullptr) {
        box = math::undo_resize(box, size, size_of(args_.original_sizes, image));
      }
      store(box, out_boxes + 4 * count);
      out_scores[count] = scores(image)[keep[j]];
      out_labels[count++] = labels(image)[keep[j]];
    }
    std::fill(out_boxes + 4 * count, out_boxes + 4 * room, Real(0));
    std::fill(out_scores + count, out_scores + room, Real(0));
    std::fill(out_labels + count, out_labels + room, std::int64_t{-1});
    args_.count[image] = count;
  }

  static void store(const Box& box, Real* to) {
    to[0] = box.x1;
    to[1] = box.y1;
    to[2] = box.x2;
    to[3] = box.y2;
  }

  static Real read(const LevelView& view, DType dtype, std::int64_t image, std::int64_t y,
                   std::int64_t x, std::int64_t channel) {
    return math::dispatch(math::ComputedAs<Real>{}, dtype, [&](auto type) {
      using E = typename decltype(type)::type;
      return math::to_real(element<E>(view, image, y, x)[channel * view.stride_channel]);
    });
  }

  Scored<Real>* candidates(std::int64_t image, const LevelPlan& level, std::int64_t band) const {
    return memory_.candidates + image * plan_.capacity + level.first_candidate +
           band * level.band_capacity;
  }
  Real* boxes(std::int64_t image) const { return memory_.boxes + image * plan_.max_selected * 4; }
  Real* scores(std::int64_t image) const { return memory_.scores + image * plan_.max_selected; }
  std::int32_t* labels(std::int64_t image) const {
    return memory_.labels + image * plan_.max_selected;
  }

  const PostprocessArgs& args_;
  const PostprocessPlan plan_;
  const PostprocessMemory<Real> memory_;
};

}  // namespace
}  // namespace fcos_ops::cpu::detection

namespace fcos_ops::cpu {

std::size_t workspace_size(const PostprocessArgs& args, const Context& context) {
  if (args.class_dtype == DType::kFloat64) {
    return detection::Postprocess<double>(args, context, nullptr).workspace_size();
  }
  return detection::Postprocess<float>(args, context, nullptr).workspace_size();
}

Status run(const PostprocessArgs& args, Workspace workspace, const Context& context) {
  if (args.class_dtype == DType::kFloat64) {
    detection::Postprocess<double>(args, context, workspace.data).run(context.num_threads);
  } else {
    detection::Postprocess<float>(args, context, workspace.data).run(context.num_threads);
  }
  return {};
}

}  // namespace fcos_ops::cpu
