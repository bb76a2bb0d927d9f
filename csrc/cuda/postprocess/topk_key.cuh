// Candidates as integers: what is smaller is better. Score and index make a total order without
// equals, so the best k and their order do not depend on the order in which candidates arrive.
#pragma once

#include "cuda/common/runtime.cuh"
#include "math/suppress.h"

namespace fcos_ops::cuda::detection {

// The key of the score (see math::descending_key) above 32 bits of index. Scores are >= 0, so the
// highest bit of their keys is 0.
template <class Real>
struct EntryTraits;
template <>
struct EntryTraits<float> {
  using Entry = std::uint64_t;
};
template <>
struct EntryTraits<double> {
  using Entry = unsigned __int128;
};
template <class Real>
using Entry = typename EntryTraits<Real>::Entry;

template <class Real>
FCOS_HD Entry<Real> make_entry(Real score, std::uint32_t index) {
  return (static_cast<Entry<Real>>(math::descending_key(score)) << 32) | index;
}

template <class Real>
FCOS_HD Real score_of(Entry<Real> entry) {
  using Bits = decltype(math::descending_key(Real()));
  constexpr Bits kAllButSign = static_cast<Bits>(~Bits{0}) >> 1;
  return math::bit_cast<Real>(static_cast<Bits>(static_cast<Bits>(entry >> 32) ^ kAllButSign));
}

template <class AnyEntry>
FCOS_HD std::uint32_t index_of(AnyEntry entry) {
  return static_cast<std::uint32_t>(entry);
}

// Where the threads of a block, or of many, collect entries. *count also counts those for which
// there was no room.
template <class AnyEntry>
struct EntryList {
  AnyEntry* entries;
  std::uint32_t capacity;
  std::uint32_t* count;
};

// Appends `entry` of those lanes that `wanted` says, with one atomic operation a warp. All lanes
// call it.
template <class AnyEntry>
__device__ __forceinline__ void append(const EntryList<AnyEntry>& list, bool wanted,
                                       AnyEntry entry) {
  const unsigned lanes = __ballot_sync(kFullMask, wanted), lane = threadIdx.x % kWarp;
  if (lanes == 0) return;
  const int leader = __ffs(static_cast<int>(lanes)) - 1;
  std::uint32_t first = 0;
  if (static_cast<int>(lane) == leader) {
    first = atomicAdd(list.count, static_cast<std::uint32_t>(__popc(lanes)));
  }
  first = __shfl_sync(kFullMask, first, leader);
  const std::uint32_t slot = first + static_cast<unsigned>(__popc(lanes & ((1u << lane) - 1)));
  if (wanted && slot < list.capacity) list.entries[slot] = entry;
}

}  // namespace fcos_ops::cuda::detection
