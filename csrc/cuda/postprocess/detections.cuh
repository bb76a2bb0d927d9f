// The detections of an image from the best candidates of each of its levels.
#pragma once

#include "cuda/nms/block_nms.cuh"
#include "cuda/postprocess/level_topk.cuh"

namespace fcos_ops::cuda::detection {

inline constexpr unsigned kMergeThreads = 256;

// Merges the selected candidates of an image's levels into one list, best first. A thread has a
// candidate, and finds its position by a binary search in each other level: of equal scores the
// lower level's is first.
template <class Real>
__device__ __forceinline__ void merge_levels(const DetectionPlan<Real>& plan) {
  const std::int64_t blocks = (plan.max_selected + kMergeThreads - 1) / kMergeThreads;
  const auto [image, block] = math::divide(blockIdx.x, blocks);
  const std::int64_t selected = block * kMergeThreads + threadIdx.x;
  std::int32_t level = plan.args.num_levels - 1;
  while (selected < plan.first_selected[level]) --level;
  const std::uint32_t* const num_selected = plan.num_selected + image * plan.args.num_levels;
  const std::int64_t rank = selected - plan.first_selected[level],
                     first = image * plan.max_selected;
  if (rank >= num_selected[level]) return;
  const Real* const scores = plan.ranked_in_level.scores + first;
  const Real score = scores[selected];
  std::int64_t position = first + rank;
  for (std::int32_t i = 0; i < plan.args.num_levels; ++i) {
    if (i == level) continue;
    position += partition_point(scores + plan.first_selected[i], num_selected[i], [&](Real other) {
      return i < level ? other >= score : other > score;
    });
  }
  plan.ranked_in_image.scores[position] = score;
  plan.ranked_in_image.boxes[position] = plan.ranked_in_level.boxes[first + selected];
  plan.ranked_in_image.labels[position] = plan.ranked_in_level.labels[first + selected];
}

struct WarpCounts {
  unsigned count[suppression::kBlockNmsThreads / kWarp];
};

// The number of threads of the block before this one that have `flag` set; `total` becomes the
// number of all that have.
__device__ __forceinline__ unsigned count_flags_before(bool flag, unsigned& total) {
  auto& warps = block_shared<WarpCounts>();
  const unsigned lane = threadIdx.x % kWarp, own_warp = threadIdx.x / kWarp;
  const unsigned flags = __ballot_sync(kFullMask, flag);
  if (lane == 0) warps.count[own_warp] = static_cast<unsigned>(__popc(flags));
  __syncthreads();
  auto before = static_cast<unsigned>(__popc(flags & ((1u << lane) - 1)));
  total = 0;
  for (unsigned warp = 0; warp < suppression::kBlockNmsThreads / kWarp; ++warp) {
    if (warp < own_warp) before += warps.count[warp];
    total += warps.count[warp];
  }
  __syncthreads();
  return before;
}

// True if fewer than max_detections_per_class of the kept boxes before this one have its class. The
// work is quadratic in the kept boxes, but stops at the limit and is done only where there is one.
template <class Real>
__device__ __forceinline__ bool has_room_in_class(const suppression::KeptList<Real>& kept,
                                                  std::int64_t index,
                                                  std::int64_t max_detections_per_class) {
  std::int64_t before = 0;
  for (std::int64_t i = 0; i < index && before < max_detections_per_class; ++i) {
    before += kept.class_ids[i] == kept.class_ids[index];
  }
  return before < max_detections_per_class;
}

// True if kept box i, that of this thread, is one of the first max_detections that have room in
// their class. All threads of a block call it; `num_taken` counts those boxes from call to call.
template <class Real>
__device__ __forceinline__ bool within_limits(const DetectionPlan<Real>& plan,
                                              const suppression::KeptList<Real>& kept,
                                              std::int64_t i, std::int64_t num_kept,
                                              std::int64_t& num_taken) {
  const bool has_room =
      i < num_kept && has_room_in_class(kept, i, plan.args.rule.max_detections_per_class);
  unsigned total;
  const std::int64_t rank = num_taken + count_flags_before(has_room, total);
  num_taken += total;
  return has_room && rank < plan.args.rule.max_detections;
}

// Writes one place of the outputs.
template <class Real>
__device__ __forceinline__ void write_detection(const PostprocessArgs& args, std::int64_t position,
                                                const math::Box<Real>& box, Real score,
                                                std::int64_t label) {
  auto* const sides = static_cast<Real*>(args.boxes) + 4 * position;
  for (int side = 0; side < 4; ++side) sides[side] = (&box.x1)[side];
  static_cast<Real*>(args.scores)[position] = score;
  args.labels[position] = label;
}

// Clips kept boxes as asked, drops the empty ones as asked and writes the others; returns how many.
// A thread takes a box at a time, the block kBlockNmsThreads of them.
template <class Real>
__device__ __forceinline__ std::int64_t write_kept(const DetectionPlan<Real>& plan,
                                                   std::int64_t image,
                                                   const suppression::KeptList<Real>& kept,
                                                   const Real* scores, std::int64_t num_kept) {
  const PostprocessArgs& args = plan.args;
  const bool limited = args.rule.max_detections_per_class < args.rule.max_detections;
  const auto size = math::read_image_size<Real>(args.image_sizes, args.image_size_dtype, image);
  std::int64_t count = 0, num_taken = 0;
  for (std::int64_t first = 0; first < num_kept && num_taken < args.rule.max_detections;
       first += suppression::kBlockNmsThreads) {
    const std::int64_t i = first + threadIdx.x;
    bool is_kept = limited ? within_limits(plan, kept, i, num_kept, num_taken) : i < num_kept;
    math::Box<Real> box = {};
    if (is_kept) {
      box = kept.boxes[i];
      if (args.rule.clip == ClipTime::kAfterNms) {
        box = math::clip_box(box, size);
        is_kept = !args.rule.drop_empty || math::has_area(box);
      }
    }
    unsigned total;
    const std::int64_t position =
        image * args.rule.max_detections + count + count_flags_before(is_kept, total);
    count += total;
    if (!is_kept) continue;
    if (args.original_sizes != nullptr) {
      box = math::undo_resize(
          box, size,
          math::read_image_size<Real>(args.original_sizes, args.image_size_dtype, image));
    }
    write_detection(args, position, box, scores[i], kept.class_ids[i]);
  }
  return count;
}

// NMS and the outputs of an image by one block. Kept boxes overwrite ranked_in_image, their scores
// those of ranked_in_level. With a limit on classes NMS has to run to its end: any number of the
// boxes that it keeps may have no room.
template <class Real>
__device__ __forceinline__ void suppress_and_write(const DetectionPlan<Real>& plan) {
  const PostprocessArgs& args = plan.args;
  const std::int64_t image = blockIdx.x, first_selected = image * plan.max_selected;
  std::int64_t num_selected = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    num_selected += plan.num_selected[image * args.num_levels + i];
  }
  const std::int64_t most = args.rule.max_detections_per_class < args.rule.max_detections
                                ? num_selected
                                : args.rule.max_detections;
  const Real* const scores = plan.ranked_in_image.scores + first_selected;
  Real* const kept_scores = plan.ranked_in_level.scores + first_selected;
  const suppression::KeptList<Real> kept = {plan.ranked_in_image.boxes + first_selected,
                                            plan.ranked_in_image.labels + first_selected};
  const auto load = [&](std::int32_t i) -> suppression::NmsBox<Real> {
    const suppression::AlignedBox<Real> box = kept.boxes[i];
    return {box, kept.class_ids[i], !math::has_nan(box)};
  };
  const std::int32_t num_kept = suppression::block_nms<Real>(
      static_cast<std::int32_t>(num_selected), static_cast<Real>(args.rule.iou_threshold),
      args.rule.class_agnostic,
      static_cast<std::int32_t>(most < num_selected ? most : num_selected), kept, load,
      [&](std::int32_t rank, std::int32_t i) { kept_scores[rank] = scores[i]; });
  const std::int64_t count = write_kept(plan, image, kept, kept_scores, num_kept);
  for (std::int64_t i = count + threadIdx.x; i < args.rule.max_detections;
       i += suppression::kBlockNmsThreads) {
    write_detection<Real>(args, image * args.rule.max_detections + i, {}, 0, -1);
  }
  if (threadIdx.x == 0) args.count[image] = count;
}

}  // namespace fcos_ops::cuda::detection
