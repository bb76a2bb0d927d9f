// Greedy suppression of one list of candidates by one block, for kernels to include.
//
// Candidates come best first, in groups of 64. All threads test a group against the boxes kept so
// far, and its members against each other; then one warp resolves which of them are kept. That
// costs two barriers a group. Work ends when enough are kept, so a short list of kept boxes, read
// by all threads at once out of the first cache, is all the state there is.
#pragma once

#include "cuda/common/runtime.cuh"
#include "math/suppress.h"

namespace fcos_ops::cuda::suppression {

inline constexpr unsigned kGroup = 64;  // candidates that a warp resolves at once, two a lane

__device__ __forceinline__ std::uint64_t ballot_two(bool low, bool high) {
  const std::uint64_t word = __ballot_sync(kFullMask, high);
  return word << kWarp | __ballot_sync(kFullMask, low);
}

// Returns which members of a group are kept, one bit each. Lane l has members l and l + 32: it says
// whether they are active and which members before them they overlap. All lanes of a warp call it
// and get the same.
//
// A member is kept if no kept one suppresses it. Each iteration is right for at least one member
// more, from the best on, and once nothing changes it is right for all. Chains are short as a rule:
// two or three iterations, where a loop over the members would take one each.
__device__ __forceinline__ std::uint64_t resolve_group(bool active_low, bool active_high,
                                                       std::uint64_t overlaps_low,
                                                       std::uint64_t overlaps_high) {
  std::uint64_t kept_bits = ballot_two(active_low, active_high), previous;
  do {
    previous = kept_bits;
    kept_bits = ballot_two(active_low && (overlaps_low & previous) == 0,
                           active_high && (overlaps_high & previous) == 0);
  } while (kept_bits != previous);
  return kept_bits;
}

// The number of bits of a word that are set before `position` < 64.
__device__ __forceinline__ int count_bits_before(std::uint64_t word, unsigned position) {
  return __popcll(word & ((std::uint64_t{1} << position) - 1));
}

// A box that is read and written 16 bytes at a time.
template <class Real>
struct alignas(16) AlignedBox : math::Box<Real> {};

template <class Real>
struct NmsBox {
  AlignedBox<Real> box;
  std::int64_t class_id;
  bool valid;  // an invalid box is not kept and suppresses nothing; one with NaN must be invalid
};

// Memory for the boxes that block_nms() keeps, best first: room for max_kept, the block's own, not
// initialised.
template <class Real>
struct KeptList {
  AlignedBox<Real>* boxes;
  std::int64_t* class_ids;
};

inline constexpr unsigned kBlockNmsThreads = 512;

template <class Real>
struct BlockNmsShared {
  struct Group {
    NmsBox<Real> member[kGroup];
    Real area[kGroup];
  } groups[2];                       // one is tested while the next is loaded
  std::uint64_t overlaps[kGroup];    // which members before this one overlap it
  std::uint64_t suppressed[kGroup];  // not 0: a kept box suppresses it, or it is not valid
  std::int32_t num_kept;
};

namespace block_nms_detail {

// The byte of a word that a slice of the threads writes; bit i of byte s is bit 8 s + i.
__device__ __forceinline__ std::uint8_t& byte_of(std::uint64_t& word, unsigned slice) {
  return reinterpret_cast<std::uint8_t*>(&word)[slice];
}

template <class Real, class Load>
__device__ __forceinline__ void load_member(typename BlockNmsShared<Real>::Group& group,
                                            unsigned member, std::int32_t first, std::int32_t left,
                                            const Load& load) {
  NmsBox<Real> candidate = {};
  const auto offset = static_cast<std::int32_t>(member);
  if (offset < left) candidate = load(first + offset);
  group.member[member] = candidate;
  group.area[member] = math::area(candidate.box);
}

// Thread t has member t % 64, and every eighth kept box and 8 members of the group to test against.
template <class Real>
__device__ __forceinline__ void test_group(BlockNmsShared<Real>& shared,
                                           const typename BlockNmsShared<Real>::Group& group,
                                           const KeptList<Real>& kept, std::int32_t num_kept,
                                           Real threshold, bool class_agnostic) {
  constexpr unsigned kSlices = kBlockNmsThreads / kGroup, kRows = kGroup / kSlices;
  static_assert(kSlices == 8, "a slice writes a byte of a word of 64 bits");
  const unsigned member = threadIdx.x % kGroup, slice = threadIdx.x / kGroup;
  const NmsBox<Real> own = group.member[member];
  const Real area = group.area[member];
  const auto can_suppress = [&](std::int64_t class_id) {
    return class_agnostic || class_id == own.class_id;
  };
  bool suppressed = !own.valid;
  for (std::int32_t i = static_cast<std::int32_t>(slice); i < num_kept && !suppressed;
       i += kSlices) {
    if (!can_suppress(kept.class_ids[i])) continue;
    const AlignedBox<Real> box = kept.boxes[i];
    suppressed = math::overlap(box, math::area(box), own.box, area, threshold);
  }
  unsigned overlaps = 0;
  for (unsigned i = 0; i < kRows; ++i) {
    const unsigned row = slice * kRows + i;
    if (row < member && can_suppress(group.member[row].class_id) &&
        math::overlap(group.member[row].box, group.area[row], own.box, area, threshold)) {
      overlaps |= 1u << i;
    }
  }
  byte_of(shared.suppressed[member], slice) = suppressed;
  byte_of(shared.overlaps[member], slice) = static_cast<std::uint8_t>(overlaps);
}

}  // namespace block_nms_detail

// Keeps at most max_kept of `count` candidates, best first, and returns how many. All threads of a
// block of kBlockNmsThreads call it, once a kernel.
//   load(index)       -> NmsBox<Real>; called once a candidate at most, in any thread
//   keep(rank, index)    is called in one thread for every candidate that is kept
// A box suppresses those of its class, or of any if class_agnostic.
// Its `kept` may overwrite what load(index) reads: the box of rank r is written after load(r).
template <class Real, class Load, class Keep>
__device__ std::int32_t block_nms(std::int32_t count, Real iou_threshold, bool class_agnostic,
                                  std::int32_t max_kept, const KeptList<Real>& kept,
                                  const Load& load, const Keep& keep) {
  constexpr auto kGroupSize = static_cast<std::int32_t>(kGroup);
  auto& shared = block_shared<BlockNmsShared<Real>>();
  const unsigned lane = threadIdx.x % kWarp;
  if (threadIdx.x < kGroup) {
    block_nms_detail::load_member<Real>(shared.groups[0], threadIdx.x, 0, count, load);
  }
  __syncthreads();
  std::int32_t num_kept = 0;
  unsigned current = 0;
  for (std::int32_t first = 0; first < count && num_kept < max_kept;) {
    const auto& group = shared.groups[current];
    block_nms_detail::test_group(shared, group, kept, num_kept, iou_threshold, class_agnostic);
    __syncthreads();
    const std::int32_t left = count - first;
    if (threadIdx.x < kWarp) {
      const std::uint64_t kept_bits =
          resolve_group(shared.suppressed[lane] == 0, shared.suppressed[lane + kWarp] == 0,
                        shared.overlaps[lane], shared.overlaps[lane + kWarp]);
      for (unsigned member = lane; member < kGroup; member += kWarp) {
        const std::int32_t rank = num_kept + count_bits_before(kept_bits, member);
        if ((kept_bits >> member & 1) == 0 || rank >= max_kept) continue;
        kept.boxes[rank] = group.member[member].box;
        kept.class_ids[rank] = group.member[member].class_id;
        keep(rank, first + static_cast<std::int32_t>(member));
      }
      if (lane == 0) {
        const std::int32_t total = num_kept + __popcll(kept_bits);
        shared.num_kept = total < max_kept ? total : max_kept;
      }
    } else if (threadIdx.x >= kGroup && threadIdx.x < 2 * kGroup && left > kGroupSize) {
      block_nms_detail::load_member<Real>(shared.groups[current ^ 1], threadIdx.x - kGroup,
                                          first + kGroupSize, left - kGroupSize, load);
    }
    __syncthreads();
    num_kept = shared.num_kept;
    if (left <= kGroupSize) break;
    first += kGroupSize;
    current ^= 1;
  }
  return num_kept;
}

}  // namespace fcos_ops::cuda::suppression
