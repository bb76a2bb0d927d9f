// Non-maximum suppression among the candidates of one image, in O(N) scratch memory.
//
// Candidates are sorted once, all classes together, and each is tested against the kept boxes of
// its own class, so the work ends as soon as max_detections are found.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/workspace.h"
#include "cpu/common/isa.h"
#include "cpu/nms/class_slots.h"
#include "cpu/nms/kept_boxes.h"
#include "cpu/nms/sort_scores.h"

namespace fcos_ops::cpu::suppression {

// The candidates of one image. T and Score: any floating type; Id: int32 or int64.
template <class T, class Score, class Id>
struct Candidates {
  const T* boxes = nullptr;       // [count, 4] x1, y1, x2, y2
  const Score* scores = nullptr;  // [count]
  const Id* classes = nullptr;    // [count], or null: all of one class
  std::int64_t count = 0;         // < 2^31
};

struct NmsOptions {
  double iou_threshold = 0.5;
  double score_threshold = std::numeric_limits<double>::quiet_NaN();  // NaN: none
  std::int64_t max_detections = 0;
  bool class_agnostic = false;                        // boxes suppress those of other classes, too
  std::int64_t max_detections_per_class = INT64_MAX;  // counted among what NMS leaves
};

// The most of `count` candidates that can be kept to suppress others: with a limit for each class
// also boxes without room in theirs.
inline std::int64_t max_kept(const NmsOptions& options, std::int64_t count) {
  const bool limited = options.max_detections_per_class < options.max_detections;
  return limited ? count : std::min(count, options.max_detections);
}

template <class T, class Score>
struct NmsScratch {
  using Real = math::Real<T>;
  using Entry = ScoredIndex<ScoreKey<Score>>;

  NmsScratch(void* memory, std::int64_t count, std::int64_t max_kept, double iou_threshold)
      : scratch(memory),
        order(scratch.take<std::int32_t>(count)),
        sorting(scratch),
        entries(sorting.take<Entry>(count)),
        spare(sorting.take<Entry>(count)),
        table(scratch.take<std::int32_t>(2 * count)),
        slots(scratch.take<std::int32_t>(count)),
        sizes(scratch.take<std::int32_t>(count)),
        kept(static_cast<Real>(iou_threshold), scratch, count, max_kept) {}

  std::size_t used() const { return std::max(scratch.used(), sorting.used()); }

  CacheLineArena scratch;
  std::int32_t* order;
  CacheLineArena sorting;  // the same memory as what follows: that is for after the sort
  Entry *entries, *spare;
  std::int32_t *table, *slots, *sizes;
  KeptBoxes<Real> kept;
};

// Bytes of scratch memory that suffice for `images` images with `count` candidates in all, of which
// `kept` can be kept. Linear, so that images can lie one behind the other.
template <class T, class Score>
std::size_t nms_scratch_size(std::int64_t images, std::int64_t count, std::int64_t kept) {
  const auto used = [](std::int64_t candidates, std::int64_t max_kept) {
    return NmsScratch<T, Score>(nullptr, candidates, max_kept, 0.5).used();
  };
  // 64 elements of anything fill whole cache lines; rounding up to lines adds less than one
  // element of each array takes.
  const std::size_t candidate = (used(64, 0) - used(0, 0)) / 64;
  const std::size_t block = (used(0, 64) - used(0, 0)) / 64;
  return static_cast<std::size_t>(images) * used(1, 1) +
         static_cast<std::size_t>(count) * candidate + static_cast<std::size_t>(kept) * block;
}

// The extent of about 512 of the candidates order[0], order[1], ...
template <class T>
Extent<math::Real<T>> sample_extent(const T* boxes, const std::int32_t* order, std::int64_t count) {
  using Real = math::Real<T>;
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  Real left = kInfinity, top = kInfinity, right = -kInfinity, bottom = -kInfinity;
  Real width = 0, height = 0, samples = 0;
  const std::int64_t step = count / 512 + 1;
  for (std::int64_t k = 0; k < count; k += step) {
    const auto box = math::load_box(boxes + 4 * std::int64_t{order[k]});
    if (!math::can_overlap(math::area(box))) continue;
    const Real x = KeptBoxes<Real>::center(box.x1, box.x2);
    const Real y = KeptBoxes<Real>::center(box.y1, box.y2);
    left = std::min(left, x);
    right = std::max(right, x);
    top = std::min(top, y);
    bottom = std::max(bottom, y);
    width += box.x2 - box.x1;
    height += box.y2 - box.y1;
    samples += 1;
  }
  if (samples == 0) return {};
  return {left, top, right - left, bottom - top, width / samples, height / samples};
}

// The number of boxes of each class that may still be kept.
struct ClassLimits {
  const std::int32_t* slots;  // the class of candidate order[k]
  std::int32_t* room;         // of each class, or null: no limit
};

// `grids` has the grid of candidate order[k], or is null where all share one.
struct GreedyLoop {
  template <class T>
  static FCOS_HD std::int64_t run(const T* boxes, const std::int32_t* order,
                                  const std::int32_t* grids, std::int64_t count,
                                  std::int64_t max_detections, const ClassLimits& limits,
                                  std::int64_t first_index, KeptBoxes<math::Real<T>>* boxes_kept,
                                  std::int64_t* keep) {
    KeptBoxes<math::Real<T>> kept = *boxes_kept;  // a copy that can live in registers
    std::int64_t found = 0;
    for (std::int64_t k = 0; k < count && found < max_detections; ++k) {
      // Candidates lie anywhere in memory: ask for a later one's box now.
      if (k + 16 < count) __builtin_prefetch(boxes + 4 * std::int64_t{order[k + 16]});
      const auto box = math::load_box(boxes + 4 * std::int64_t{order[k]});
      if (math::has_nan(box)) continue;
      const auto area = math::area(box);
      if (math::can_overlap(area)) {
        const std::int32_t grid = grids == nullptr ? 0 : grids[k];
        if (kept.suppress(grid, box, area)) continue;
        kept.keep(grid, box, area);
      }
      // A box without room in its class suppresses others all the same.
      if (limits.room != nullptr && limits.room[limits.slots[k]]-- <= 0) continue;
      keep[found++] = first_index + order[k];
    }
    return found;
  }
};

// Writes to `keep` the indices of at most max_detections kept boxes, best first, each plus
// `first_index`, and returns how many there are. Of scratch memory it takes
// nms_scratch_size(1, candidates.count, max_kept(options, candidates.count)).
template <class T, class Score, class Id>
std::int64_t nms_image(const Candidates<T, Score, Id>& candidates, const NmsOptions& options,
                       std::int64_t first_index, void* scratch_memory, std::int64_t* keep) {
  NmsScratch<T, Score> scratch(scratch_memory, candidates.count,
                               max_kept(options, candidates.count), options.iou_threshold);
  const std::int64_t count =
      order_by_score(candidates.scores, candidates.count, options.score_threshold, scratch.entries,
                     scratch.spare, scratch.order);
  if (count == 0 || options.max_detections == 0) return 0;
  const bool per_class = candidates.classes != nullptr && !options.class_agnostic;
  const bool limited =
      candidates.classes != nullptr && options.max_detections_per_class < options.max_detections;
  std::int32_t num_classes = 0;
  if (per_class || limited) {
    num_classes = number_classes(candidates.classes, scratch.order, count, scratch.table,
                                 scratch.slots, scratch.sizes);
  }
  const auto all = static_cast<std::int32_t>(count);
  scratch.kept.lay_grids(sample_extent(candidates.boxes, scratch.order, count),
                         per_class ? scratch.sizes : &all, per_class ? num_classes : 1);
  ClassLimits limits = {scratch.slots, nullptr};
  if (limited) {
    limits.room = scratch.sizes;  // which the grids no longer need
    const auto room = static_cast<std::int32_t>(options.max_detections_per_class);  // < count
    std::fill(limits.room, limits.room + num_classes, room);
  }
  return run_best<GreedyLoop>(candidates.boxes, scratch.order, per_class ? scratch.slots : nullptr,
                              count, options.max_detections, limits, first_index, &scratch.kept,
                              keep);
}

}  // namespace fcos_ops::cpu::suppression
