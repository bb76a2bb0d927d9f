// Greedy suppression of one list of candidates by one block, for kernels to include.
//
// Candidates come best first, in groups of 64. All threads test a group against the boxes kept so
// far, and its members against each other; then one warp settles which of them stay. That costs two
// barriers a group. Work ends when enough are kept, so a short list of kept boxes, read by all
// threads at once out of the first cache, is all the state there is.
#pragma once

#include "cuda/common/runtime.cuh"
#include "math/suppress.h"

namespace fcos_ops::cuda::suppression {

inline constexpr unsigned kGroup = 64;  // candidates that a warp settles at once, two a lane

__device__ __forceinline__ std::uint64_t ballot_two(bool low, bool high) {
  const std::uint64_t word = __ballot_sync(kFullMask, high);
  return word << kWarp | __ballot_sync(kFullMask, low);
}

// Which of a group stay, one bit each. Lane l has members l and l + 32: whether they are alive, and
// which members before them they overlap. All lanes of a warp call it and get the same.
//
// A member stays if none that stays suppresses it. Each round is right for at least one member
// more, from the best on, and once nothing changes it is right for all. Chains are short as a rule:
// two or three rounds, where a loop over the members would take one each.
__device__ __forceinline__ std::uint64_t settle_group(bool alive_low, bool alive_high,
                                                      std::uint64_t overlaps_low,
                                                      std::uint64_t overlaps_high) {
  std::uint64_t stays = ballot_two(alive_low, alive_high), previous;
  do {
    previous = stays;
    stays = ballot_two(alive_low && (overlaps_low & previous) == 0,
                       alive_high && (overlaps_high & previous) == 0);
  } while (stays != previous);
  return stays;
}

// How many bits of a word are set before `position` < 64.
__device__ __forceinline__ int count_before(std::uint64_t word, unsigned position) {
  return __popcll(word & ((std::uint64_t{1} << position) - 1));
}

// A box that is read and written 16 bytes at a time.
template <class Real>
struct alignas(16) AlignedBox : math::Box<Real> {};

template <class Real>
struct Candidate {
  AlignedBox<Real> box;
  std::int64_t class_id;
  bool valid;  // else it is not kept and suppresses nothing; so must it be with NaN
};

// Memory for what greedy() keeps, best first: room for max_kept, of the block's own, not
// initialised.
template <class Real>
struct KeptList {
  AlignedBox<Real>* boxes;
  std::int64_t* class_ids;
};

inline constexpr unsigned kGreedyThreads = 512;

template <class Real>
struct GreedyShared {
  struct Group {
    Candidate<Real> member[kGroup];
    Real area[kGroup];
  } groups[2];                     // one is tested while the next is loaded
  std::uint64_t overlaps[kGroup];  // which members before this one overlap it
  std::uint64_t dead[kGroup];      // not 0: a kept box suppresses it, or it is not valid
  std::int32_t found;
};

namespace greedy_detail {

// The byte of a word that a slice of the threads writes; bit i of byte s is bit 8 s + i.
__device__ __forceinline__ std::uint8_t& byte_of(std::uint64_t& word, unsigned slice) {
  return reinterpret_cast<std::uint8_t*>(&word)[slice];
}

template <class Real, class Load>
__device__ __forceinline__ void load_member(typename GreedyShared<Real>::Group& group,
                                            unsigned member, std::int32_t first, std::int32_t left,
                                            const Load& load) {
  Candidate<Real> candidate = {};
  const auto offset = static_cast<std::int32_t>(member);
  if (offset < left) candidate = load(first + offset);
  group.member[member] = candidate;
  group.area[member] = math::area(candidate.box);
}

// Thread t has member t % 64, and every eighth kept box and 8 members of the group to test against.
template <class Real>
__device__ __forceinline__ void test_group(GreedyShared<Real>& shared,
                                           const typename GreedyShared<Real>::Group& group,
                                           const KeptList<Real>& kept, std::int32_t found,
                                           Real threshold, bool class_agnostic) {
  constexpr unsigned kSlices = kGreedyThreads / kGroup, kRows = kGroup / kSlices;
  static_assert(kSlices == 8, "a slice writes a byte of a word of 64 bits");
  const unsigned member = threadIdx.x % kGroup, slice = threadIdx.x / kGroup;
  const Candidate<Real> own = group.member[member];
  const Real area = group.area[member];
  const auto can_suppress = [&](std::int64_t class_id) {
    return class_agnostic || class_id == own.class_id;
  };
  bool dead = !own.valid;
  for (std::int32_t i = static_cast<std::int32_t>(slice); i < found && !dead; i += kSlices) {
    if (!can_suppress(kept.class_ids[i])) continue;
    const AlignedBox<Real> box = kept.boxes[i];
    dead = math::overlap(box, math::area(box), own.box, area, threshold);
  }
  unsigned overlaps = 0;
  for (unsigned i = 0; i < kRows; ++i) {
    const unsigned row = slice * kRows + i;
    if (row < member && can_suppress(group.member[row].class_id) &&
        math::overlap(group.member[row].box, group.area[row], own.box, area, threshold)) {
      overlaps |= 1u << i;
    }
  }
  byte_of(shared.dead[member], slice) = dead;
  byte_of(shared.overlaps[member], slice) = static_cast<std::uint8_t>(overlaps);
}

}  // namespace greedy_detail

// Keeps at most max_kept of `count` candidates, best first, and returns how many. All threads of a
// block of kGreedyThreads call it, once a kernel.
//   load(index)       -> Candidate<Real>; called once a candidate at most, in any thread
//   keep(rank, index)    is called in one thread for every candidate that is kept
// A box suppresses those of its class, or of any if class_agnostic.
// Its `kept` may overwrite what load(index) reads: the box of rank r is written after load(r).
template <class Real, class Load, class Keep>
__device__ std::int32_t greedy(std::int32_t count, Real iou_threshold, bool class_agnostic,
                               std::int32_t max_kept, const KeptList<Real>& kept, const Load& load,
                               const Keep& keep) {
  constexpr auto kGroupSize = static_cast<std::int32_t>(kGroup);
  auto& shared = block_shared<GreedyShared<Real>>();
  const unsigned lane = threadIdx.x % kWarp;
  if (threadIdx.x < kGroup) {
    greedy_detail::load_member<Real>(shared.groups[0], threadIdx.x, 0, count, load);
  }
  __syncthreads();
  std::int32_t found = 0;
  unsigned current = 0;
  for (std::int32_t first = 0; first < count && found < max_kept;) {
    const auto& group = shared.groups[current];
    greedy_detail::test_group(shared, group, kept, found, iou_threshold, class_agnostic);
    __syncthreads();
    const std::int32_t left = count - first;
    if (threadIdx.x < kWarp) {
      const std::uint64_t stays =
          settle_group(shared.dead[lane] == 0, shared.dead[lane + kWarp] == 0,
                       shared.overlaps[lane], shared.overlaps[lane + kWarp]);
      for (unsigned member = lane; member < kGroup; member += kWarp) {
        const std::int32_t rank = found + count_before(stays, member);
        if ((stays >> member & 1) == 0 || rank >= max_kept) continue;
        kept.boxes[rank] = group.member[member].box;
        kept.class_ids[rank] = group.member[member].class_id;
        keep(rank, first + static_cast<std::int32_t>(member));
      }
      if (lane == 0) {
        const std::int32_t total = found + __popcll(stays);
        shared.found = total < max_kept ? total : max_kept;
      }
    } else if (threadIdx.x >= kGroup && threadIdx.x < 2 * kGroup && left > kGroupSize) {
      greedy_detail::load_member<Real>(shared.groups[current ^ 1], threadIdx.x - kGroup,
                                       first + kGroupSize, left - kGroupSize, load);
    }
    __syncthreads();
    found = shared.found;
    if (left <= kGroupSize) break;
    first += kGroupSize;
    current ^= 1;
  }
  return found;
}

}  // namespace fcos_ops::cuda::suppression
