// The order in which non-maximum suppression takes boxes: image by image, in each by score from
// high to low, then by index from low to high. For the kernels of nms.cu.
#pragma once

#include "common/dtypes.h"
#include "cuda/common/block_bitonic_sort.cuh"
#include "cuda/common/runtime.cuh"
#include "cuda/nms/block_nms.cuh"
#include "fcos_ops/nms.h"

namespace fcos_ops::cuda::suppression {

inline constexpr std::int32_t kRoundSize = 4096;  // candidates a round, see rounds.cuh

// The candidates in order. Image b has candidates first[b] to first[b + 1] - 1.
template <class Real>
struct SortedBoxes {
  const std::uint64_t* keys;  // of several images: the bits from key_shift on are the image
  std::int32_t key_shift;
  std::int64_t num_images;
  const std::int32_t* indices;
  AlignedBox<Real>* boxes;
  std::int64_t* class_ids;
  std::int32_t* first;

  __device__ std::int64_t image(std::int32_t position) const {
    return num_images == 1 ? 0 : static_cast<std::int64_t>(keys[position] >> key_shift);
  }
};

// The key of a box that is no candidate. No key of a candidate ends on 32 ones, or is 64 ones: that
// would be the score NaN.
inline constexpr std::uint64_t kNoCandidate = ~std::uint64_t{0};

inline constexpr unsigned kOrderThreads = 256;

__device__ __forceinline__ std::int64_t offset_at(const NmsArgs& args, std::int64_t image) {
  if (args.offsets == nullptr) return image == 0 ? 0 : args.num_boxes;
  return math::clamped_offset(args.offsets, args.offset_dtype, image, 0, args.num_boxes);
}

// The image of a box, or -1. Whatever the offsets are, it is one that has the box between its own.
__device__ __forceinline__ std::int64_t image_of_box(const NmsArgs& args, std::int64_t index) {
  std::int64_t low = 0, high = args.num_images;
  if (index < offset_at(args, low) || index >= offset_at(args, high)) return -1;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (offset_at(args, middle) <= index ? low : high) = middle;
  }
  return low;
}

template <class Real>
__device__ __forceinline__ AlignedBox<Real> read_box(const NmsArgs& args, std::int64_t index) {
  return {{math::read_real<Real>(args.boxes, args.box_dtype, 4 * index),
           math::read_real<Real>(args.boxes, args.box_dtype, 4 * index + 1),
           math::read_real<Real>(args.boxes, args.box_dtype, 4 * index + 2),
           math::read_real<Real>(args.boxes, args.box_dtype, 4 * index + 3)}};
}

// The key that orders a box among those of its image, or kNoCandidate.
template <class Score>
__device__ __forceinline__ std::uint64_t score_key(const NmsArgs& args, std::int64_t index) {
  const auto score = math::read_real<Score>(args.scores, args.score_dtype, index);
  const bool low = score <= static_cast<Score>(args.score_threshold);
  if (score != score || low) return kNoCandidate;
  if (args.box_dtype == DType::kFloat64 ? math::has_nan(read_box<double>(args, index))
                                        : math::has_nan(read_box<float>(args, index))) {
    return kNoCandidate;
  }
  return math::descending_key(score);
}

// Clears the outputs, and the bits of rounds.cuh, before the first box is kept.
__device__ __forceinline__ void clear(const NmsArgs& args, std::uint32_t* suppressed,
                                      std::int64_t thread, std::int64_t num_threads) {
  const std::int64_t size = args.num_images * args.max_detections;
  for (std::int64_t i = thread; i < size; i += num_threads) args.keep[i] = -1;
  for (std::int64_t i = thread; i < args.num_images; i += num_threads) args.count[i] = 0;
  for (std::int64_t i = thread; i < kRoundSize / kWarp; i += num_threads) suppressed[i] = 0;
}

// The number of this thread, and of all, where blocks have kOrderThreads.
__device__ __forceinline__ std::int64_t grid_thread() {
  return std::int64_t{blockIdx.x} * kOrderThreads + threadIdx.x;
}
__device__ __forceinline__ std::int64_t grid_threads() {
  return std::int64_t{gridDim.x} * kOrderThreads;
}

template <class Real>
__device__ __forceinline__ void gather(const NmsArgs& args, const SortedBoxes<Real>& sorted,
                                       std::int64_t position, std::int64_t index) {
  sorted.boxes[position] = read_box<Real>(args, index);
  sorted.class_ids[position] =
      args.classes ? math::read_integer(args.classes, args.class_dtype, index) : 0;
}

// Fetches boxes and classes in sorted order, and finds where images begin. A thread a position.
template <class Real>
__device__ __forceinline__ void gather_sorted(const NmsArgs& args,
                                              const SortedBoxes<Real>& sorted) {
  const std::int64_t i = grid_thread();
  if (i >= args.num_boxes) return;
  const auto image_at = [&](std::int64_t position) {
    if (sorted.keys[position] == kNoCandidate) return sorted.num_images;
    return sorted.image(static_cast<std::int32_t>(position));
  };
  const std::int64_t image = image_at(i);
  const std::int64_t previous = i == 0 ? -1 : image_at(i - 1);
  for (std::int64_t b = previous + 1; b <= image; ++b) {
    sorted.first[b] = static_cast<std::int32_t>(i);
  }
  if (i == args.num_boxes - 1) {
    for (std::int64_t b = image + 1; b <= sorted.num_images; ++b) {
      sorted.first[b] = static_cast<std::int32_t>(args.num_boxes);
    }
  }
  if (image < sorted.num_images) gather(args, sorted, i, sorted.indices[i]);
}

// The order of few boxes of one image, whose scores are not float64, in one kernel.
inline constexpr unsigned kSmallThreads = 1024;
inline constexpr std::int64_t kSmallBoxes = 4096;

struct SmallKeys {
  std::uint64_t key[kSmallBoxes];  // of the score, then the index
};

template <class Real>
__device__ __forceinline__ void order_small(const NmsArgs& args, std::uint32_t* suppressed,
                                            const SortedBoxes<Real>& sorted,
                                            std::int32_t* indices) {
  auto& shared = block_shared<SmallKeys>();
  clear(args, suppressed, threadIdx.x, kSmallThreads);
  const auto count = static_cast<unsigned>(args.num_boxes);
  unsigned size = 2 * kWarp;
  while (size < count) size *= 2;
  for (unsigned i = threadIdx.x; i < size; i += kSmallThreads) {
    std::uint64_t key = kNoCandidate;
    if (i < count && image_of_box(args, i) == 0) {
      key = score_key<float>(args, i);
      if (key != kNoCandidate) key = key << 32 | i;
    }
    shared.key[i] = key;
  }
  __syncthreads();
  block_bitonic_sort<kSmallThreads>(shared.key, size);
  if (threadIdx.x == 0) {
    sorted.first[0] = 0;
    if (shared.key[0] == kNoCandidate) sorted.first[1] = 0;
  }
  for (unsigned i = threadIdx.x; i < count; i += kSmallThreads) {
    if (shared.key[i] == kNoCandidate) break;
    const auto index = static_cast<std::uint32_t>(shared.key[i]);
    indices[i] = static_cast<std::int32_t>(index);
    gather(args, sorted, i, index);
    if (i + 1 == count || shared.key[i + 1] == kNoCandidate) {
      sorted.first[1] = static_cast<std::int32_t>(i + 1);
    }
  }
}

}  // namespace fcos_ops::cuda::suppression
