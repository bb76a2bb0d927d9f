// From the best candidates of each level to the detections of an image.
#pragma once

#include "cuda/greedy.cuh"
#include "cuda/level_winners.cuh"

namespace fcos_ops::cuda {

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
  std::int64_t max_detections, max_per_class;
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
  result.max_per_class = args.max_per_class;
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
  unsigned count[kGreedyThreads / kWarp];
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
  for (unsigned warp = 0; warp < kGreedyThreads / kWarp; ++warp) {
    if (warp < own_warp) before += warps.count[warp];
    total += warps.count[warp];
  }
  __syncthreads();
  return before;
}

// Whether fewer than max_per_class of the kept boxes before this one have its class.
template <class Real>
__device__ __forceinline__ bool has_room_in_class(const KeptList<Real>& kept, std::int64_t index,
                                                  std::int64_t max_per_class) {
  std::int64_t before = 0;
  for (std::int64_t i = 0; i < index && before < max_per_class; ++i) {
    before += kept.class_ids[i] == kept.class_ids[index];
  }
  return before < max_per_class;
}

// NMS of an image, one block each, and the outputs. What is kept lies where its candidates lay, its
// scores where those of the levels lay. With a limit on classes NMS has to run to its end: any
// number of its boxes may have no room.
template <class Real>
__global__ void __launch_bounds__(kGreedyThreads, 1) suppress_and_write(DetectionPlan<Real> plan) {
  const std::int64_t image = blockIdx.x, size = plan.max_detections;
  const bool limited = plan.max_per_class < size;
  std::int64_t found = 0;
  for (std::int32_t i = 0; i < plan.num_levels; ++i) found += plan.won[image * plan.num_levels + i];
  const Real* const scores = plan.of_images.scores + image * plan.winners;
  Real* const kept_scores = plan.of_levels.scores + image * plan.winners;
  const KeptList<Real> kept = {plan.of_images.boxes + image * plan.winners,
                               plan.of_images.labels + image * plan.winners};
  const auto load = [&](std::int32_t i) -> Candidate<Real> {
    const AlignedBox<Real> box = kept.boxes[i];
    return {box, kept.class_ids[i], !math::has_nan(box)};
  };
  const std::int32_t num_kept =
      greedy<Real>(static_cast<std::int32_t>(found), plan.iou_threshold, plan.class_agnostic,
                   static_cast<std::int32_t>(limited || found < size ? found : size), kept, load,
                   [&](std::int32_t rank, std::int32_t i) { kept_scores[rank] = scores[i]; });
  const auto image_size =
      math::read_image_size<Real>(plan.image_sizes, plan.image_size_dtype, image);
  Real* const out_boxes = plan.boxes + image * size * 4;
  Real* const out_scores = plan.scores + image * size;
  std::int64_t* const out_labels = plan.labels + image * size;
  std::int64_t count = 0, within_limits = 0;
  for (std::int64_t first = 0; first < num_kept; first += kGreedyThreads) {
    const std::int64_t i = first + threadIdx.x;
    bool stays = i < num_kept;
    unsigned total;
    if (limited) {
      stays = stays && has_room_in_class(kept, i, plan.max_per_class);
      const std::int64_t rank = within_limits + count_flags_before(stays, total);
      within_limits += total;
      stays = stays && rank < size;
    }
    math::Box<Real> box = {};
    if (stays) {
      box = kept.boxes[i];
      if (plan.clip_after_nms) {
        box = math::clip_box(box, image_size);
        stays = !plan.drop_empty || math::has_area(box);
      }
    }
    const std::int64_t place = count + count_flags_before(stays, total);
    count += total;
    if (!stays) continue;
    if (plan.original_sizes != nullptr) {
      box = math::undo_resize(
          box, image_size,
          math::read_image_size<Real>(plan.original_sizes, plan.image_size_dtype, image));
    }
    for (int side = 0; side < 4; ++side) out_boxes[4 * place + side] = (&box.x1)[side];
    out_scores[place] = kept_scores[i];
    out_labels[place] = kept.class_ids[i];
  }
  for (std::int64_t i = count + threadIdx.x; i < size; i += kGreedyThreads) {
    for (int side = 0; side < 4; ++side) out_boxes[4 * i + side] = 0;
    out_scores[i] = 0;
    out_labels[i] = -1;
  }
  if (threadIdx.x == 0) plan.count[image] = count;
}

}  // namespace fcos_ops::cuda
