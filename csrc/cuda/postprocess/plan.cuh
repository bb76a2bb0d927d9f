// The tiles of post-processing on a GPU, and its workspace.
#pragma once

#include <algorithm>

#include "common/workspace.h"
#include "cuda/common/tiles.h"
#include "cuda/nms/block_nms.cuh"
#include "cuda/postprocess/topk_key.cuh"
#include "fcos_ops/postprocess.h"
#include "math/score.h"

namespace fcos_ops::cuda::detection {

// The most locations and channels that a block of the scan takes.
inline constexpr std::int64_t kTile = 512, kMaxChannels = 128;

// Room for the candidates of a level of an image, as a multiple of k; beyond, the best of them
// raise the level's threshold: enough that it happens only where a score_threshold hardly filters,
// and rarely twice.
inline constexpr std::int64_t kMinCapacity = 32768, kCapacityPerK = 8;

struct LevelPlan {
  LevelView class_logits, ltrb, centerness;
  PostprocessLevel geometry;
  std::int64_t first_candidate;  // among those of the image
  std::uint32_t capacity;        // candidates that there is room for
  std::uint32_t k;               // candidates to select
  std::uint32_t first_block;     // of the scan, among those of the image
  std::uint16_t tile, channels;  // of a block of the scan
  bool channels_contiguous;      // neighbours in memory are channels, not locations
  bool has_vectors;              // logits can be read 16 bytes at a time
};

// Decoded candidates, [batch, max_selected] each.
template <class Real>
struct Ranked {
  Real* scores;
  suppression::AlignedBox<Real>* boxes;
  std::int64_t* labels;
};

// The arguments of all kernels. `args` is as the caller has it, but its views and levels are in
// memory of the host.
template <class Real>
struct DetectionPlan {
  PostprocessArgs args;
  std::int64_t first_selected[kMaxLevels];  // candidates of a level among those of the image
  std::int64_t max_selected;                // candidates of an image that NMS sees
  std::uint32_t* num_selected;              // [batch, num_levels]
  Ranked<Real> ranked_in_level;             // best first in each level
  Ranked<Real> ranked_in_image;             // best first in each image
};

// Those of the kernels that read head outputs, too.
template <class Real>
struct PostprocessPlan : DetectionPlan<Real> {
  LevelPlan level[kMaxLevels];
  std::int64_t capacity;  // candidates of an image that there is room for
  std::int64_t blocks;    // of the scan, for an image
  Real score_threshold;
  math::MinScore<Real> min_score;  // follows from score_threshold

  std::uint32_t* num_candidates;  // [batch, num_levels], also those beyond the capacity
  TopKKey<Real>* candidates;      // [batch, capacity]
  TopKKey<Real>* sorted[2];       // [batch, max_selected]
};
static_assert(sizeof(PostprocessPlan<double>) <= 4096, "kernel arguments have 4 KB");

// Plans how the logits of a level are read. `vector_size` elements are in 16 bytes.
inline void plan_reading(const LevelView& view, std::int64_t num_classes, std::int64_t batch,
                         std::int64_t vector_size, LevelPlan& plan) {
  const auto fits = [&](std::int64_t stride, std::int64_t count) {
    return count <= 1 || stride % vector_size == 0;
  };
  const std::int64_t locations = view.height * view.width;
  const bool one_line = view.height == 1 || view.stride_y == view.width * view.stride_x;
  const bool aligned =
      reinterpret_cast<std::uintptr_t>(view.data) % 16 == 0 && fits(view.stride_batch, batch);
  const bool along_line = one_line && view.stride_x == 1;
  plan.channels_contiguous = view.stride_channel == 1 && num_classes > 1;
  if (plan.channels_contiguous) {
    plan.has_vectors = aligned && num_classes % vector_size == 0 &&
                       fits(view.stride_x, view.width) && fits(view.stride_y, view.height);
  } else {
    plan.has_vectors = aligned && along_line && locations % vector_size == 0 &&
                       fits(view.stride_channel, num_classes);
  }
  // Without vectors a logit takes more instructions, so more blocks share the level.
  plan.tile = static_cast<std::uint16_t>(plan.has_vectors ? kTile : kTile / vector_size);
  const std::int64_t chunks = (num_classes + kMaxChannels - 1) / kMaxChannels;
  const std::int64_t channels = chunks > 0 ? (num_classes + chunks - 1) / chunks : 0;
  plan.channels = static_cast<std::uint16_t>((channels + 7) / 8 * 8);
}

// Takes the arrays of a plan from `memory`, in the order in which post-processing fills them.
template <class Real>
void take_memory(const PostprocessArgs& args, DeviceArena& memory, PostprocessPlan<Real>& plan) {
  const std::int64_t levels = args.batch * args.num_levels,
                     max_selected = args.batch * plan.max_selected;
  plan.num_candidates = memory.take<std::uint32_t>(levels);
  plan.candidates = memory.take<TopKKey<Real>>(args.batch * plan.capacity);
  for (auto& sorted : plan.sorted) sorted = memory.take<TopKKey<Real>>(max_selected);
  plan.num_selected = memory.take<std::uint32_t>(levels);
  for (Ranked<Real>* ranked : {&plan.ranked_in_level, &plan.ranked_in_image}) {
    *ranked = {memory.take<Real>(max_selected),
               memory.take<suppression::AlignedBox<Real>>(max_selected),
               memory.take<std::int64_t>(max_selected)};
  }
}

// T: the type of the class logits.
template <class T, class Real = math::Real<T>>
PostprocessPlan<Real> make_plan(const PostprocessArgs& args, DeviceArena& memory) {
  PostprocessPlan<Real> plan = {};
  plan.args = args;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    LevelPlan& level = plan.level[i];
    level.class_logits = args.class_logits[i];
    if (args.ltrb != nullptr) level.ltrb = args.ltrb[i];
    if (args.centerness != nullptr) level.centerness = args.centerness[i];
    if (args.levels != nullptr) level.geometry = args.levels[i];
    const std::int64_t locations = level.class_logits.height * level.class_logits.width;
    const std::int64_t logits = locations * args.num_classes;
    const std::int64_t k = std::min(args.rule.candidates_per_level, logits);
    const std::int64_t capacity = std::max(kCapacityPerK * k, kMinCapacity);
    level.k = static_cast<std::uint32_t>(k);
    level.capacity = static_cast<std::uint32_t>(k > 0 ? std::min(capacity, logits) : 0);
    level.first_candidate = plan.capacity;
    plan.first_selected[i] = plan.max_selected;
    level.first_block = static_cast<std::uint32_t>(plan.blocks);
    plan.capacity += level.capacity;
    plan.max_selected += k;
    if (k == 0) continue;
    plan_reading(level.class_logits, args.num_classes, args.batch, 16 / sizeof(T), level);
    plan.blocks += ((locations + level.tile - 1) / level.tile) *
                   ((args.num_classes + level.channels - 1) / level.channels);
  }
  plan.score_threshold = static_cast<Real>(args.rule.score_threshold);
  plan.min_score = math::min_for_threshold<Real>(args.rule);
  take_memory(args, memory, plan);
  return plan;
}

}  // namespace fcos_ops::cuda::detection
