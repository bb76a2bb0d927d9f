// Merge sort of distinct keys by one block: bitonic sorts of chunks in shared memory, then merges
// in global memory, where a key finds its position among those of the other half by binary search.
// The usual few thousand keys need no merge; any number comes out right.
#pragma once

#include "cuda/common/block_bitonic_sort.cuh"
#include "cuda/postprocess/topk_key.cuh"

namespace fcos_ops::cuda::detection {

template <class Key>
struct SortChunk {
  static constexpr std::uint32_t kSize = 16384 / sizeof(Key);
  Key key[kSize];
};

// The index of the first element of a sorted list for which `before` does not hold.
template <class T, class Before>
__device__ __forceinline__ std::uint32_t partition_point(const T* sorted, std::uint32_t count,
                                                         const Before& before) {
  std::uint32_t first = 0;
  while (count > 0) {
    const std::uint32_t half = count / 2;
    if (before(sorted[first + half])) {
      first += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return first;
}

template <unsigned kThreads, class Key>
__device__ __forceinline__ void sort_chunk(Key* keys, std::uint32_t count) {
  Key* const chunk = block_shared<SortChunk<Key>>().key;
  std::uint32_t size = 2;
  while (size < count) size *= 2;
  for (std::uint32_t i = threadIdx.x; i < size; i += kThreads) {
    chunk[i] = i < count ? keys[i] : ~Key{0};
  }
  __syncthreads();
  block_bitonic_sort<kThreads>(chunk, size);
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) keys[i] = chunk[i];
  __syncthreads();
}

// Merges pairs of neighbouring sorted runs of `from`.
template <unsigned kThreads, class Key>
__device__ __forceinline__ void merge_runs(const Key* from, Key* to, std::uint32_t count,
                                           std::uint32_t run) {
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) {
    const Key key = from[i];
    const std::uint32_t number = i / run, other = (number ^ 1) * run;
    std::uint32_t position = i;
    if (other < count) {
      const std::uint32_t size = run < count - other ? run : count - other;
      position -= number % 2 == 0 ? 0 : run;
      position += partition_point(from + other, size, [&](Key e) { return e < key; });
    }
    to[position] = key;
  }
  __syncthreads();
}

// Sorts `count` < 2^31 keys; returns where they are then: in `keys` or in `spare`. Key i was
// written by thread i % kThreads, or the block has met at a barrier since; it has at the end.
template <unsigned kThreads, class Key>
__device__ Key* block_merge_sort(Key* keys, Key* spare, std::uint32_t count) {
  constexpr std::uint32_t kChunk = SortChunk<Key>::kSize;
  static_assert(kChunk % kThreads == 0, "a thread reads what it may have written");
  for (std::uint32_t first = 0; first < count; first += kChunk) {
    sort_chunk<kThreads>(keys + first, count - first < kChunk ? count - first : kChunk);
  }
  for (std::uint32_t run = kChunk; run < count; run *= 2) {
    merge_runs<kThreads>(keys, spare, count, run);
    Key* const merged = spare;
    spare = keys;
    keys = merged;
  }
  return keys;
}

}  // namespace fcos_ops::cuda::detection
