// Score and index of a candidate in one integer key; ascending keys are descending scores, and of
// equal scores ascending indices. The order is total, so the best k and their order do not depend
// on the order in which candidates arrive.
#pragma once

#include <type_traits>

#include "cuda/common/runtime.cuh"
#include "math/suppress.h"

namespace fcos_ops::cuda::detection {

// The key of the score (see math::descending_key) above 32 bits of index. Scores are >= 0, so the
// highest bit of their keys is 0.
template <class Real>
using TopKKey = std::conditional_t<std::is_same_v<Real, double>, unsigned __int128, std::uint64_t>;

template <class Real>
FCOS_HD TopKKey<Real> make_topk_key(Real score, std::uint32_t index) {
  return (static_cast<TopKKey<Real>>(math::descending_key(score)) << 32) | index;
}

template <class Real>
FCOS_HD Real score_of(TopKKey<Real> key) {
  using Bits = decltype(math::descending_key(Real()));
  constexpr Bits kAllButSign = static_cast<Bits>(~Bits{0}) >> 1;
  return math::bit_cast<Real>(static_cast<Bits>(static_cast<Bits>(key >> 32) ^ kAllButSign));
}

template <class Key>
FCOS_HD std::uint32_t index_of(Key key) {
  return static_cast<std::uint32_t>(key);
}

// A list to which the threads of a block, or of many, append keys. *count also counts those for
// which there was no room.
template <class Key>
struct KeyList {
  Key* keys;
  std::uint32_t capacity;
  std::uint32_t* count;
};

// Appends `key` of the lanes in which `wanted` is set, with one atomic operation a warp. All lanes
// call it.
template <class Key>
__device__ __forceinline__ void append(const KeyList<Key>& list, bool wanted, Key key) {
  const unsigned lanes = __ballot_sync(kFullMask, wanted), lane = threadIdx.x % kWarp;
  if (lanes == 0) return;
  const int leader = __ffs(static_cast<int>(lanes)) - 1;
  std::uint32_t first = 0;
  if (static_cast<int>(lane) == leader) {
    first = atomicAdd(list.count, static_cast<std::uint32_t>(__popc(lanes)));
  }
  first = __shfl_sync(kFullMask, first, leader);
  const std::uint32_t slot = first + static_cast<unsigned>(__popc(lanes & ((1u << lane) - 1)));
  if (wanted && slot < list.capacity) list.keys[slot] = key;
}

}  // namespace fcos_ops::cuda::detection
