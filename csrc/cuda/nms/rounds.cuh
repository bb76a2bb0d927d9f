// Suppression in rounds: a round takes the next 4096 candidates in sorted order, whatever images
// they belong to. For the kernels of nms.cu.
//
// nms_test_kernel, on the whole device, tests them against the boxes that earlier rounds kept, and
// against each other. nms_resolve_kernel, one block, then walks through them, 64 at a time: the
// warp that has a group resolves in registers which of its members are kept, and one barrier later
// all warps strike out the boxes behind that these suppress. Its time is the latency of 64 such
// steps, so the bits of a step are laid out to be read in a row, one word a candidate, and are
// asked for a step ahead.
#pragma once

#include "cuda/common/block_reduce.cuh"
#include "cuda/nms/order.cuh"

namespace fcos_ops::cuda::suppression {

inline constexpr unsigned kRoundGroups = kRoundSize / kGroup;
inline constexpr unsigned kTestThreads = 128;
inline constexpr unsigned kResolveThreads = 1024;
inline constexpr unsigned kTestSlices = kRoundGroups;  // blocks that share the rows of a candidate

template <class Real>
struct Rounds {
  SortedBoxes<Real> sorted;
  Real iou_threshold;
  std::int32_t max_kept;  // of an image; less than 2^31 as there are no more boxes
  std::int64_t max_detections, *keep, *count;
  std::int32_t* kept_positions;  // positions of the kept boxes of image b, from first[b] on
  std::uint32_t* suppressed;     // [kRoundSize / 32] a bit for each candidate; 0 between rounds
  std::uint64_t* overlaps;       // [kRoundGroups, columns] which of a group's members come
  std::int32_t columns;          // before a candidate, are of its class and overlap it
};

// A round's candidates. Only the first may be of an image that an earlier round has begun with.
struct Round {
  std::int32_t begin, end;
  std::int32_t first_active;            // the first candidate whose image lacks boxes
  std::int32_t image_begin, image_end;  // of the image of the first
  std::int32_t num_kept;                // boxes of that image that earlier rounds kept
};

template <class Real>
__device__ __forceinline__ Round round_at(const Rounds<Real>& rounds, std::int32_t begin) {
  const SortedBoxes<Real>& sorted = rounds.sorted;
  const std::int32_t total = sorted.first[sorted.num_images];
  if (begin >= total) return {};
  Round round = {begin, total - begin < kRoundSize ? total : begin + kRoundSize, begin, 0, 0, 0};
  const std::int64_t image = sorted.image(begin);
  round.image_begin = sorted.first[image];
  round.image_end = sorted.first[image + 1];
  if (round.image_begin < begin) round.num_kept = static_cast<std::int32_t>(rounds.count[image]);
  if (round.num_kept >= rounds.max_kept) {
    round.first_active = round.image_end < round.end ? round.image_end : round.end;
  }
  return round;
}

template <class Real>
struct TestRows {
  AlignedBox<Real> box[kGroup];
  Real area[kGroup];
  std::int64_t class_id[kGroup];
};

template <class Real>
__device__ __forceinline__ void load_row(const SortedBoxes<Real>& sorted, TestRows<Real>& rows,
                                         std::int32_t position) {
  rows.box[threadIdx.x] = sorted.boxes[position];
  rows.area[threadIdx.x] = math::area(sorted.boxes[position]);
  rows.class_id[threadIdx.x] = sorted.class_ids[position];
}

template <class Real>
struct Column {
  AlignedBox<Real> box;
  Real area;
  std::int64_t class_id;

  __device__ bool overlaps(const TestRows<Real>& rows, std::int32_t row, Real threshold) const {
    return rows.class_id[row] == class_id &&
           math::overlap<Real>(rows.box[row], rows.area[row], box, area, threshold);
  }
};

// A block has 128 candidates of the round, one a thread, and every 64th group of the boxes to test
// them against: one group of the round, and groups of the boxes kept before.
template <class Real>
__device__ __forceinline__ void test_round(const Rounds<Real>& rounds, std::int32_t begin) {
  constexpr auto kRows = static_cast<std::int32_t>(kGroup);
  const SortedBoxes<Real>& sorted = rounds.sorted;
  const Round round = round_at(rounds, begin);
  const auto column = static_cast<std::int32_t>(blockIdx.x * kTestThreads + threadIdx.x);
  const std::int32_t last_column = column - static_cast<std::int32_t>(threadIdx.x) + kTestThreads;
  if (round.begin + last_column <= round.first_active) return;
  const std::int32_t position = round.begin + column;
  const bool active = position >= round.first_active && position < round.end;
  const auto slice = static_cast<std::int32_t>(blockIdx.y);

  auto& rows = block_shared<TestRows<Real>>();
  Column<Real> own = {};
  if (active) {
    own = {sorted.boxes[position], math::area(sorted.boxes[position]), sorted.class_ids[position]};
  }

  const std::int32_t first_row = round.begin + slice * kRows;
  if (first_row < round.end && slice * kRows < last_column) {
    if (threadIdx.x < kGroup) {
      const std::int32_t row = first_row + static_cast<std::int32_t>(threadIdx.x);
      load_row(sorted, rows, row < round.end ? row : round.end - 1);
    }
    __syncthreads();
    if (active) {
      // The candidate is tested against rows of its own image that come before it.
      const std::int32_t image_begin =
          position < round.image_end ? round.image_begin : sorted.first[sorted.image(position)];
      const std::int32_t from = image_begin > first_row ? image_begin - first_row : 0;
      const std::int32_t before = position - first_row, to = before < kRows ? before : kRows;
      std::uint64_t word = 0;
      for (std::int32_t row = from; row < to; ++row) {
        if (own.overlaps(rows, row, rounds.iou_threshold)) word |= std::uint64_t{1} << row;
      }
      rounds.overlaps[std::int64_t{slice} * rounds.columns + column] = word;
    }
  }

  bool suppressed = false;
  const bool same_image = active && position < round.image_end;
  for (std::int32_t tile = slice * kRows; tile < round.num_kept; tile += kRows * kTestSlices) {
    const std::int32_t left = round.num_kept - tile, count = left < kRows ? left : kRows;
    __syncthreads();  // the rows before have been read
    if (static_cast<std::int32_t>(threadIdx.x) < count) {
      load_row(
          sorted, rows,
          rounds.kept_positions[round.image_begin + tile + static_cast<std::int32_t>(threadIdx.x)]);
    }
    __syncthreads();
    for (std::int32_t row = 0; row < count && same_image && !suppressed; ++row) {
      suppressed = own.overlaps(rows, row, rounds.iou_threshold);
    }
  }
  const unsigned word = __ballot_sync(kFullMask, suppressed);
  if (word != 0 && threadIdx.x % kWarp == 0) atomicOr(&rounds.suppressed[column / kWarp], word);
}

struct ResolveShared {
  std::uint64_t active[kRoundGroups];  // not suppressed by boxes that earlier rounds kept
  std::uint64_t kept[kRoundGroups];
  std::int32_t before[kRoundGroups];  // boxes kept in groups before
};

// A warp has two groups, which `slot` counts; a lane has two members of each.
inline constexpr unsigned kResolveWarps = kResolveThreads / kWarp;
inline constexpr unsigned kSlots = kRoundGroups / kResolveWarps;

// Counts the boxes kept before each group. One warp calls it.
__device__ __forceinline__ void count_groups(ResolveShared& shared) {
  const unsigned lane = threadIdx.x % kWarp;
  const auto low = static_cast<std::uint32_t>(__popcll(shared.kept[lane]));
  const auto high = static_cast<std::uint32_t>(__popcll(shared.kept[lane + kWarp]));
  const std::uint32_t sums = warp_inclusive_sum(low | high << 16);  // two counts, each below 2^16
  const std::uint32_t low_half = __shfl_sync(kFullMask, sums, kWarp - 1) & 0xffff;
  shared.before[lane] = static_cast<std::int32_t>((sums & 0xffff) - low);
  shared.before[lane + kWarp] = static_cast<std::int32_t>(low_half + (sums >> 16) - high);
}

// The number of candidates of the round that are kept before the one at `offset` < kRoundSize.
__device__ __forceinline__ std::int32_t count_kept_before(const ResolveShared& shared,
                                                          std::int32_t offset) {
  const auto group = static_cast<unsigned>(offset) / kGroup;
  return shared.before[group] +
         count_bits_before(shared.kept[group], static_cast<unsigned>(offset) % kGroup);
}

// Writes the result of a candidate once it is known which boxes are kept.
template <class Real>
__device__ __forceinline__ void write_result(const Rounds<Real>& rounds, const Round& round,
                                             const ResolveShared& shared, std::int32_t position) {
  const SortedBoxes<Real>& sorted = rounds.sorted;
  const std::int32_t offset = position - round.begin;
  const std::int64_t image = sorted.image(position);
  const std::int32_t image_begin = sorted.first[image], image_end = sorted.first[image + 1];
  std::int32_t rank = count_kept_before(shared, offset);
  if (image_begin > round.begin) {
    rank -= count_kept_before(shared, image_begin - round.begin);
  } else {
    rank += round.num_kept;
  }
  const bool kept = shared.kept[offset / kGroup] >> (offset % kGroup) & 1;
  if (kept && rank < rounds.max_kept) {
    rounds.keep[image * rounds.max_detections + rank] = sorted.indices[position];
    rounds.kept_positions[image_begin + rank] = position;
  }
  if (position + 1 == round.end || position + 1 == image_end) {
    const std::int32_t num_kept = rank + kept;
    rounds.count[image] = num_kept < rounds.max_kept ? num_kept : rounds.max_kept;
  }
}

template <class Real>
__device__ __forceinline__ void resolve_round(const Rounds<Real>& rounds, std::int32_t begin) {
  const Round round = round_at(rounds, begin);
  if (round.first_active >= round.end) return;
  auto& shared = block_shared<ResolveShared>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  bool active[kSlots][2];
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    const unsigned group = slot * kResolveWarps + warp;
    for (unsigned half = 0; half < 2; ++half) {
      const unsigned offset = group * kGroup + half * kWarp + lane;
      const std::int32_t position = round.begin + static_cast<std::int32_t>(offset);
      std::uint32_t& suppressed = rounds.suppressed[offset / kWarp];
      active[slot][half] =
          position >= round.first_active && position < round.end && (suppressed >> lane & 1) == 0;
    }
    const std::uint64_t word = ballot_two(active[slot][0], active[slot][1]);
    if (lane == 0) {
      shared.active[group] = word;
      shared.kept[group] = 0;
      rounds.suppressed[2 * group] = rounds.suppressed[2 * group + 1] = 0;
    }
  }
  __syncthreads();

  // The overlaps of this thread's candidates with members of one group.
  struct Words {
    std::uint64_t word[kSlots][2];
  };
  const auto load = [&](unsigned group) {
    Words words = {};
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      for (unsigned half = 0; half < 2; ++half) {
        const unsigned own_group = slot * kResolveWarps + warp;
        const unsigned offset = own_group * kGroup + half * kWarp + lane;
        if (active[slot][half] && own_group >= group) {
          words.word[slot][half] = rounds.overlaps[std::int64_t{group} * rounds.columns + offset];
        }
      }
    }
    return words;
  };

  const bool one_image = round.image_end >= round.end;
  std::int32_t num_kept = round.num_kept;
  std::uint64_t pending = ballot_two(shared.active[lane] != 0, shared.active[lane + kWarp] != 0);
  unsigned group = static_cast<unsigned>(__ffsll(static_cast<long long>(pending)) - 1);
  Words words = {};
  if (pending != 0) words = load(group);
  while (pending != 0) {
    pending &= pending - 1;
    Words next_words = {};
    unsigned next = 0;
    if (pending != 0) {
      next = static_cast<unsigned>(__ffsll(static_cast<long long>(pending)) - 1);
      next_words = load(next);
    }
    if (group % kResolveWarps == warp) {
      for (unsigned slot = 0; slot < kSlots; ++slot) {
        if (slot != group / kResolveWarps) continue;
        const std::uint64_t kept = resolve_group(active[slot][0], active[slot][1],
                                                 words.word[slot][0], words.word[slot][1]);
        if (lane == 0) shared.kept[group] = kept;
      }
    }
    __syncthreads();
    const std::uint64_t kept = shared.kept[group];
    num_kept += __popcll(kept);
    if (one_image && num_kept >= rounds.max_kept) break;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      for (unsigned half = 0; half < 2; ++half) {
        if ((words.word[slot][half] & kept) != 0) active[slot][half] = false;
      }
    }
    words = next_words;
    group = next;
  }

  if (warp == 0) count_groups(shared);
  __syncthreads();
  for (std::int32_t position = round.begin + static_cast<std::int32_t>(threadIdx.x);
       position < round.end; position += kResolveThreads) {
    if (position >= round.first_active) write_result(rounds, round, shared, position);
  }
}

}  // namespace fcos_ops::cuda::suppression
