// Suppression in rounds: a round takes the next 4096 candidates in sorted order, whatever images
// they belong to. Kernels for nms.cu.
//
// test_kernel, on the whole device, tests them against the boxes that earlier rounds kept, and
// against each other. resolve_kernel, one block, then walks through them, 64 at a time: the warp
// that has a group settles in registers which of its members stay, and one barrier later all warps
// strike out what these suppress behind them. Its time is the latency of 64 such steps, so the bits
// of a step are laid out to be read in a row, one word a candidate, and are asked for a step ahead.
#pragma once

#include "cuda/nms/order.cuh"

namespace fcos_ops::cuda::suppression {

inline constexpr std::int32_t kChunk = 4096;  // candidates a round
inline constexpr unsigned kChunkGroups = kChunk / kGroup;
inline constexpr unsigned kTestThreads = 128;
inline constexpr unsigned kResolveThreads = 1024;
inline constexpr unsigned kTestSlices = kChunkGroups;  // blocks that share the rows of a candidate

template <class Real>
struct Rounds {
  Sorted<Real> sorted;
  Real iou_threshold;
  std::int32_t max_kept;  // of an image; less than 2^31 as there are no more boxes
  std::int64_t max_detections, *keep, *count;
  std::int32_t* kept;       // positions of the kept boxes of image b, from first[b] on
  std::uint32_t* dead;      // [kChunk / 32] a bit for each candidate; 0 between rounds
  std::uint64_t* overlaps;  // [kChunkGroups, columns] which of a group's members come
  std::int32_t columns;     // before a candidate, are of its class and overlap it
};

// A round's candidates. Only the first may be of an image that an earlier round has begun with.
struct Chunk {
  std::int32_t begin, end;
  std::int32_t live;                    // where those begin whose image lacks boxes
  std::int32_t image_begin, image_end;  // of the image of the first
  std::int32_t found;                   // boxes kept of that image in earlier rounds
};

template <class Real>
__device__ __forceinline__ Chunk chunk_of(const Rounds<Real>& rounds, std::int32_t begin) {
  const Sorted<Real>& sorted = rounds.sorted;
  const std::int32_t total = sorted.first[sorted.num_images];
  if (begin >= total) return {};
  Chunk chunk = {begin, total - begin < kChunk ? total : begin + kChunk, begin, 0, 0, 0};
  const std::int64_t image = sorted.image(begin);
  chunk.image_begin = sorted.first[image];
  chunk.image_end = sorted.first[image + 1];
  if (chunk.image_begin < begin) chunk.found = static_cast<std::int32_t>(rounds.count[image]);
  if (chunk.found >= rounds.max_kept) {
    chunk.live = chunk.image_end < chunk.end ? chunk.image_end : chunk.end;
  }
  return chunk;
}

template <class Real>
struct TestRows {
  AlignedBox<Real> box[kGroup];
  Real area[kGroup];
  std::int64_t class_id[kGroup];
};

template <class Real>
__device__ __forceinline__ void load_row(const Sorted<Real>& sorted, TestRows<Real>& rows,
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
           math::overlap(static_cast<const math::Box<Real>&>(rows.box[row]), rows.area[row],
                         static_cast<const math::Box<Real>&>(box), area, threshold);
  }
};

// A block has 128 candidates of the chunk, one a thread, and every 64th group of what they are
// tested against: one group of the chunk, and groups of the boxes kept before.
template <class Real>
__global__ void __launch_bounds__(kTestThreads, 1)
    test_kernel(Rounds<Real> rounds, std::int32_t begin) {
  constexpr auto kRows = static_cast<std::int32_t>(kGroup);
  const Sorted<Real>& sorted = rounds.sorted;
  const Chunk chunk = chunk_of(rounds, begin);
  const auto column = static_cast<std::int32_t>(blockIdx.x * kTestThreads + threadIdx.x);
  const std::int32_t last_column = column - static_cast<std::int32_t>(threadIdx.x) + kTestThreads;
  if (chunk.begin + last_column <= chunk.live) return;
  const std::int32_t position = chunk.begin + column;
  const bool live = position >= chunk.live && position < chunk.end;
  const auto slice = static_cast<std::int32_t>(blockIdx.y);

  auto& rows = block_shared<TestRows<Real>>();
  Column<Real> own = {};
  if (live)
    own = {sorted.boxes[position], math::area(sorted.boxes[position]), sorted.class_ids[position]};

  const std::int32_t first_row = chunk.begin + slice * kRows;
  if (first_row < chunk.end && slice * kRows < last_column) {
    if (threadIdx.x < kGroup) {
      const std::int32_t row = first_row + static_cast<std::int32_t>(threadIdx.x);
      load_row(sorted, rows, row < chunk.end ? row : chunk.end - 1);
    }
    __syncthreads();
    if (live) {
      // Rows of its own image, before itself.
      const std::int32_t image_begin =
          position < chunk.image_end ? chunk.image_begin : sorted.first[sorted.image(position)];
      const std::int32_t from = image_begin > first_row ? image_begin - first_row : 0;
      const std::int32_t before = position - first_row, to = before < kRows ? before : kRows;
      std::uint64_t word = 0;
      for (std::int32_t row = from; row < to; ++row) {
        if (own.overlaps(rows, row, rounds.iou_threshold)) word |= std::uint64_t{1} << row;
      }
      rounds.overlaps[std::int64_t{slice} * rounds.columns + column] = word;
    }
  }

  bool dead = false;
  const bool same_image = live && position < chunk.image_end;
  for (std::int32_t tile = slice * kRows; tile < chunk.found; tile += kRows * kTestSlices) {
    const std::int32_t left = chunk.found - tile, count = left < kRows ? left : kRows;
    __syncthreads();  // the rows before have been read
    if (static_cast<std::int32_t>(threadIdx.x) < count) {
      load_row(sorted, rows,
               rounds.kept[chunk.image_begin + tile + static_cast<std::int32_t>(threadIdx.x)]);
    }
    __syncthreads();
    for (std::int32_t row = 0; row < count && same_image && !dead; ++row) {
      dead = own.overlaps(rows, row, rounds.iou_threshold);
    }
  }
  const unsigned word = __ballot_sync(kFullMask, dead);
  if (word != 0 && threadIdx.x % kWarp == 0) atomicOr(&rounds.dead[column / kWarp], word);
}

struct ResolveShared {
  std::uint64_t alive[kChunkGroups];  // by what earlier rounds kept
  std::uint64_t stays[kChunkGroups];
  std::int32_t before[kChunkGroups];  // how many stay in groups before
};

// Of the groups that a warp has, `slot` counts two; a lane has two members of each.
inline constexpr unsigned kResolveWarps = kResolveThreads / kWarp;
inline constexpr unsigned kSlots = kChunkGroups / kResolveWarps;

// Two sums, each below 2^16, over all lanes up to this one.
__device__ __forceinline__ std::uint32_t sum_to_lane(std::uint32_t value) {
  const unsigned lane = threadIdx.x % kWarp;
  for (unsigned delta = 1; delta < kWarp; delta *= 2) {
    const std::uint32_t other = __shfl_up_sync(kFullMask, value, delta);
    if (lane >= delta) value += other;
  }
  return value;
}

// Called by one warp.
__device__ __forceinline__ void count_groups(ResolveShared& shared) {
  const unsigned lane = threadIdx.x % kWarp;
  const auto low = static_cast<std::uint32_t>(__popcll(shared.stays[lane]));
  const auto high = static_cast<std::uint32_t>(__popcll(shared.stays[lane + kWarp]));
  const std::uint32_t sums = sum_to_lane(low | high << 16);
  const std::uint32_t low_half = __shfl_sync(kFullMask, sums, kWarp - 1) & 0xffff;
  shared.before[lane] = static_cast<std::int32_t>((sums & 0xffff) - low);
  shared.before[lane + kWarp] = static_cast<std::int32_t>(low_half + (sums >> 16) - high);
}

// How many candidates of the chunk stay before the one at `offset` < kChunk.
__device__ __forceinline__ std::int32_t stay_before(const ResolveShared& shared,
                                                    std::int32_t offset) {
  const auto group = static_cast<unsigned>(offset) / kGroup;
  return shared.before[group] +
         count_before(shared.stays[group], static_cast<unsigned>(offset) % kGroup);
}

// Writes what is known of a candidate once it is known who stays.
template <class Real>
__device__ __forceinline__ void write_result(const Rounds<Real>& rounds, const Chunk& chunk,
                                             const ResolveShared& shared, std::int32_t position) {
  const Sorted<Real>& sorted = rounds.sorted;
  const std::int32_t offset = position - chunk.begin;
  const std::int64_t image = sorted.image(position);
  const std::int32_t image_begin = sorted.first[image], image_end = sorted.first[image + 1];
  std::int32_t rank = stay_before(shared, offset);
  if (image_begin > chunk.begin) {
    rank -= stay_before(shared, image_begin - chunk.begin);
  } else {
    rank += chunk.found;
  }
  const bool stays = shared.stays[offset / kGroup] >> (offset % kGroup) & 1;
  if (stays && rank < rounds.max_kept) {
    rounds.keep[image * rounds.max_detections + rank] = sorted.indices[position];
    rounds.kept[image_begin + rank] = position;
  }
  if (position + 1 == chunk.end || position + 1 == image_end) {
    const std::int32_t found = rank + stays;
    rounds.count[image] = found < rounds.max_kept ? found : rounds.max_kept;
  }
}

template <class Real>
__global__ void __launch_bounds__(kResolveThreads, 1)
    resolve_kernel(Rounds<Real> rounds, std::int32_t begin) {
  const Chunk chunk = chunk_of(rounds, begin);
  if (chunk.live >= chunk.end) return;
  auto& shared = block_shared<ResolveShared>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  bool alive[kSlots][2];
  for (unsigned slot = 0; slot < kSlots; ++slot) {
    const unsigned group = slot * kResolveWarps + warp;
    for (unsigned half = 0; half < 2; ++half) {
      const unsigned offset = group * kGroup + half * kWarp + lane;
      const std::int32_t position = chunk.begin + static_cast<std::int32_t>(offset);
      std::uint32_t& dead = rounds.dead[offset / kWarp];
      alive[slot][half] = position >= chunk.live && position < chunk.end && (dead >> lane & 1) == 0;
    }
    const std::uint64_t word = ballot_two(alive[slot][0], alive[slot][1]);
    if (lane == 0) {
      shared.alive[group] = word;
      shared.stays[group] = 0;
      rounds.dead[2 * group] = rounds.dead[2 * group + 1] = 0;
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
        if (alive[slot][half] && own_group >= group) {
          words.word[slot][half] = rounds.overlaps[std::int64_t{group} * rounds.columns + offset];
        }
      }
    }
    return words;
  };

  const bool one_image = chunk.image_end >= chunk.end;
  std::int32_t found = chunk.found;
  std::uint64_t pending = ballot_two(shared.alive[lane] != 0, shared.alive[lane + kWarp] != 0);
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
        const std::uint64_t stays =
            settle_group(alive[slot][0], alive[slot][1], words.word[slot][0], words.word[slot][1]);
        if (lane == 0) shared.stays[group] = stays;
      }
    }
    __syncthreads();
    const std::uint64_t stays = shared.stays[group];
    found += __popcll(stays);
    if (one_image && found >= rounds.max_kept) break;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      for (unsigned half = 0; half < 2; ++half) {
        if ((words.word[slot][half] & stays) != 0) alive[slot][half] = false;
      }
    }
    words = next_words;
    group = next;
  }

  if (warp == 0) count_groups(shared);
  __syncthreads();
  for (std::int32_t position = chunk.begin + static_cast<std::int32_t>(threadIdx.x);
       position < chunk.end; position += kResolveThreads) {
    if (position >= chunk.live) write_result(rounds, chunk, shared, position);
  }
}

}  // namespace fcos_ops::cuda::suppression
