// The bands of post-processing, and its workspace.
#pragma once

#include <algorithm>

#include "common/workspace.h"
#include "cpu/nms/nms_image.h"
#include "cpu/postprocess/top_candidates.h"
#include "fcos_ops/postprocess.h"

namespace fcos_ops::cpu::detection {

// Logits in a band. Bands exist to share a large level among threads; one thread needs none.
inline constexpr std::int64_t kBandLogits = 1 << 18;

// The bands of one level of one image, and where their candidates go.
struct LevelPlan {
  std::int64_t locations, logits;  // of the level
  std::int64_t k;                  // candidates to select
  std::int64_t bands, band_locations;
  std::int64_t band_capacity;    // candidates that a band may hold while it is scanned
  std::int64_t first_band;       // among those of the image
  std::int64_t first_candidate;  // of the first band, among those of the image
};

struct PostprocessPlan {
  LevelPlan levels[kMaxLevels];
  std::int64_t bands = 0;         // of an image
  std::int64_t capacity = 0;      // candidates that all bands of an image may hold
  std::int64_t max_selected = 0;  // candidates of an image that NMS may see
};

template <class Real>
PostprocessPlan make_plan(const PostprocessArgs& args, const Context& context) {
  PostprocessPlan plan;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    LevelPlan& level = plan.levels[i];
    level.locations = args.class_logits[i].height * args.class_logits[i].width;
    level.logits = level.locations * args.num_classes;
    level.k = std::min(args.rule.candidates_per_level, level.logits);
    const std::int64_t wanted = (level.logits + kBandLogits - 1) / kBandLogits;
    level.bands = context.num_threads > 1 ? std::min(wanted, level.locations) : 1;
    level.bands = level.k > 0 ? level.bands : 0;
    level.band_locations = level.bands > 0 ? (level.locations + level.bands - 1) / level.bands : 0;
    level.band_capacity = TopCandidates<Real>::capacity(args.rule.candidates_per_level,
                                                        level.band_locations * args.num_classes);
    level.first_band = plan.bands;
    level.first_candidate = plan.capacity;
    plan.bands += level.bands;
    plan.capacity += level.bands * level.band_capacity;
    plan.max_selected += level.k;
  }
  return plan;
}

// The scratch memory of the whole call and of one image's second round.
template <class Real>
struct PostprocessMemory {
  PostprocessMemory(const PostprocessPlan& plan, const PostprocessArgs& args, void* data)
      : scratch(data),
        candidates(scratch.take<Scored<Real>>(args.batch * plan.capacity)),
        counts(scratch.take<std::int64_t>(args.batch * plan.bands)),
        boxes(scratch.take<Real>(args.batch * plan.max_selected * 4)),
        scores(scratch.take<Real>(args.batch * plan.max_selected)),
        labels(scratch.take<std::int32_t>(args.batch * plan.max_selected)),
        max_kept(std::min(args.rule.max_detections, plan.max_selected)),
        keep(scratch.take<std::int64_t>(args.batch * max_kept)),
        nms_size(
            suppression::nms_scratch_size<Real, Real>(1, plan.max_selected, plan.max_selected)),
        nms(scratch.take<std::byte>(args.batch * static_cast<std::int64_t>(nms_size))) {}

  CacheLineArena scratch;
  Scored<Real>* candidates;  // [batch, plan.capacity]
  std::int64_t* counts;      // [batch, plan.bands]
  Real* boxes;               // [batch, plan.max_selected, 4]
  Real* scores;              // [batch, plan.max_selected]
  std::int32_t* labels;      // [batch, plan.max_selected]
  std::int64_t max_kept;
  std::int64_t* keep;  // [batch, max_kept]
  std::size_t nms_size;
  std::byte* nms;  // [batch, nms_size]
};

}  // namespace fcos_ops::cpu::detection
