// From the best candidates of each level to the detections of an image.
#pragma once

#include "cuda/nms/block_nms.cuh"
#include "cuda/postprocess/level_topk.cuh"

namespace fcos_ops::cuda::detection {

inline constexpr unsigned kMergeThreads = 256;

// What the kernels below need of a plan.
template <class Real>
struct DetectionPlan {
  std::int64_t first_winner[kMaxLevels];
  std::int32_t num_levels;
  std::int64_t winners;
  const std::uint32_t* won;
  Ranked<Real> of_levels, of_images;
  const void *image_sizes, *original_sizes;
  DType image_size_dtype;
  bool class_agnostic, clip_after_nms, drop_empty;
  Real iou_threshold;
  std::int64_t max_detections, max_detections_per_class;
  Real *boxes, *scores;  // the outputs
  std::int64_t *labels, *count;
};

template <class Real>
DetectionPlan<Real> make_detection_plan(const PostprocessArgs& args,
                                        const PostprocessPlan<Real>& plan) {
  DetectionPlan<Real> result = {};
  for (std::int32_t i = 0; i < plan.num_levels; ++i) {
    result.first_winner[i] = plan.level[i].first_winner;
  }
  result.num_levels = plan.num_levels;
  result.winners = plan.winners;
  result.won = plan.won;
  result.of_levels = plan.of_levels;
  result.of_images = plan.of_images;
  result.image_sizes = args.image_sizes;
  result.original_sizes = args.original_sizes;
  result.image_size_dtype = args.image_size_dtype;
  result.class_agnostic = args.class_agnostic;
  result.clip_after_nms = !args.clip_before_nms;
  result.drop_empty = args.drop_empty;
  result.iou_threshold = static_cast<Real>(args.iou_threshold);
  result.max_detections = args.max_detections;
  result.max_detections_per_class = args.max_detections_per_class;
  result.boxes = static_cast<Real*>(args.boxes);
  result.scores = static_cast<Real*>(args.scores);
  result.labels = args.labels;
  result.count = args.count;
  return result;
}

// Copies the winners of an image's levels into one list, best first. A thread has a winner, and
// finds its place by a binary search in each other level: of equal scores the lower level's is
// first.
template <class Real>
__global__ void __launch_bounds__(kMergeThreads) merge_levels(DetectionPlan<Real> plan) {
  const std::int64_t blocks = (plan.winners + kMergeThreads - 1) / kMergeThreads;
  const auto [image, block] = divide(blockIdx.x, blocks);
  const std::int64_t winner = block * kMergeThreads + threadIdx.x;
  std::int32_t level = plan.num_levels - 1;
  while (winner < plan.first_winner[level]) --level;
  const std::uint32_t* const won = plan.won + image * plan.num_levels;
  const std::int64_t rank = winner - plan.first_winner[level], first = image * plan.winners;
  if (rank >= won[level]) return;
  const Real* const scores = plan.of_levels.scores + first;
  const Real score = scores[winner];
  std::int64_t place = first + rank;
  for (std::int32_t i = 0; i < plan.num_levels; ++i) {
    if (i == level) continue;
    place += partition_point(scores + plan.first_winner[i], won[i], [&](Real other) {
      return i < level ? other >= score : other > score;
    });
  }
  plan.of_images.scores[place] = score;
  plan.of_images.boxes[place] = plan.of_levels.boxes[first + winner];
  plan.of_images.labels[place] = plan.of_levels.labels[first + winner];
}

struct WarpCounts {
  unsigned count[suppression::kGreedyThreads / kWarp];
};

// How many threads of the block before this one have `flag` set, and in `total` how many have.
__device__ __forceinline__ unsigned count_flags_before(bool flag, unsigned& total) {
  auto& warps = block_shared<WarpCounts>();
  const unsigned lane = threadIdx.x % kWarp, own_warp = threadIdx.x / kWarp;
  const unsigned flags = __ballot_sync(kFullMask, flag);
  if (lane == 0) warps.count[own_warp] = static_cast<unsigned>(__popc(flags));
  __syncthreads();
  auto before = static_cast<unsigned>(__popc(flags & ((1u << lane) - 1)));
  total = 0;
  for (unsigned warp = 0; warp < suppression::kGreedyThreads / kWarp; ++warp) {
    if (warp < own_warp) before += warps.count[warp];
    total += warps.count[warp];
  }
  __syncthreads();
  return before;
}

// Whether fewer than max_detections_per_class of the kept boxes before this one have its class. The
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

// Whether kept box i, that of this thread, is one of the first max_detections that have room in
// their class. All threads of a block call it; `taken` counts those boxes from call to call.
template <class Real>
__device__ __forceinline__ bool within_limits(const DetectionPlan<Real>& plan,
                                              const suppression::KeptList<Real>& kept,
                                              std::int64_t i, std::int64_t num_kept,
                                              std::int64_t& taken) {
  const bool has_room = i < num_kept && has_room_in_class(kept, i, plan.max_detections_per_class);
  unsigned total;
  const std::int64_t rank = taken + count_flags_before(has_room, total);
  taken += total;
  return has_room && rank < plan.max_detections;
}

// Clips kept boxes as asked, drops the empty ones as asked and writes the others; returns how many.
// A thread takes a box at a time, kGreedyThreads boxes are taken in a round.
template <class Real>
__device__ __forceinline__ std::int64_t write_kept(const DetectionPlan<Real>& plan,
                                                   std::int64_t image,
                                                   const suppression::KeptList<Real>& kept,
                                                   const Real* scores, std::int64_t num_kept) {
  const bool limited = plan.max_detections_per_class < plan.max_detections;
  const auto size = math::read_image_size<Real>(plan.image_sizes, plan.image_size_dtype, image);
  std::int64_t count = 0, taken = 0;
  for (std::int64_t first = 0; first < num_kept && taken < plan.max_detections;
       first += suppression::kGreedyThreads) {
    const std::int64_t i = first + threadIdx.x;
    bool stays = limited ? within_limits(plan, kept, i, num_kept, taken) : i < num_kept;
    math::Box<Real> box = {};
    if (stays) {
      box = kept.boxes[i];
      if (plan.clip_after_nms) {
        box = math::clip_box(box, size);
        stays = !plan.drop_empty || math::has_area(box);
      }
    }
    unsigned total;
    const std::int64_t place =
        image * plan.max_detections + count + count_flags_before(stays, total);
    count += total;
    if (!stays) continue;
    if (plan.original_sizes != nullptr) {
      box = math::undo_resize(
          box, size,
          math::read_image_size<Real>(plan.original_sizes, plan.image_size_dtype, image));
    }
    for (int side = 0; side < 4; ++side) plan.boxes[4 * place + side] = (&box.x1)[side];
    plan.scores[place] = scores[i];
    plan.labels[place] = kept.class_ids[i];
  }
  return count;
}

// NMS of an image, one block each, and the outputs. What is kept lies where its candidates lay, its
// scores where those of the levels lay. With a limit on classes NMS has to run to its end: any
// number of the boxes that it keeps may have no room.
template <class Real>
__global__ void __launch_bounds__(suppression::kGreedyThreads, 1)
    suppress_and_write(DetectionPlan<Real> plan) {
  const std::int64_t image = blockIdx.x, first_winner = image * plan.winners;
  std::int64_t found = 0;
  for (std::int32_t i = 0; i < plan.num_levels; ++i) found += plan.won[image * plan.num_levels + i];
  const std::int64_t most =
      plan.max_detections_per_class < plan.max_detections ? found : plan.max_detections;
  const Real* const scores = plan.of_images.scores + first_winner;
  Real* const kept_scores = plan.of_levels.scores + first_winner;
  const suppression::KeptList<Real> kept = {plan.of_images.boxes + first_winner,
                                            plan.of_images.labels + first_winner};
  const auto load = [&](std::int32_t i) -> suppression::Candidate<Real> {
    const suppression::AlignedBox<Real> box = kept.boxes[i];
    return {box, kept.class_ids[i], !math::has_nan(box)};
  };
  const std::int32_t num_kept = suppression::greedy<Real>(
      static_cast<std::int32_t>(found), plan.iou_threshold, plan.class_agnostic,
      static_cast<std::int32_t>(most < found ? most : found), kept, load,
      [&](std::int32_t rank, std::int32_t i) { kept_scores[rank] = scores[i]; });
  const std::int64_t count = write_kept(plan, image, kept, kept_scores, num_kept);
  for (std::int64_t i = count + threadIdx.x; i < plan.max_detections;
       i += suppression::kGreedyThreads) {
    const std::int64_t place = image * plan.max_detections + i;
    for (int side = 0; side < 4; ++side) plan.boxes[4 * place + side] = 0;
    plan.scores[place] = 0;
    plan.labels[place] = -1;
  }
  if (threadIdx.x == 0) plan.count[image] = count;
}

}  // namespace fcos_ops::cuda::detection
