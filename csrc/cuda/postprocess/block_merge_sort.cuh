// Sorts distinct entries by one block: bitonic sorts of chunks in shared memory, then merges in
// global memory, where an entry finds its place among those of the other half by binary search. The
// usual few thousand entries need no merge; any number comes out right.
#pragma once

#include "cuda/common/block_bitonic_sort.cuh"
#include "cuda/postprocess/topk_key.cuh"

namespace fcos_ops::cuda::detection {

template <class AnyEntry>
struct SortChunk {
  static constexpr std::uint32_t kSize = 16384 / sizeof(AnyEntry);
  AnyEntry entry[kSize];
};

// The index of the first entry of a sorted list that `before` does not hold for.
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

template <unsigned kThreads, class AnyEntry>
__device__ __forceinline__ void sort_chunk(AnyEntry* entries, std::uint32_t count) {
  AnyEntry* const chunk = block_shared<SortChunk<AnyEntry>>().entry;
  std::uint32_t size = 2;
  while (size < count) size *= 2;
  for (std::uint32_t i = threadIdx.x; i < size; i += kThreads) {
    chunk[i] = i < count ? entries[i] : ~AnyEntry{0};
  }
  __syncthreads();
  block_sort<kThreads>(chunk, size);
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) entries[i] = chunk[i];
  __syncthreads();
}

// Merges pairs of neighbouring sorted runs of `from`.
template <unsigned kThreads, class AnyEntry>
__device__ __forceinline__ void merge_runs(const AnyEntry* from, AnyEntry* to, std::uint32_t count,
                                           std::uint32_t run) {
  for (std::uint32_t i = threadIdx.x; i < count; i += kThreads) {
    const AnyEntry entry = from[i];
    const std::uint32_t number = i / run, other = (number ^ 1) * run;
    std::uint32_t place = i;
    if (other < count) {
      const std::uint32_t size = run < count - other ? run : count - other;
      place -= number % 2 == 0 ? 0 : run;
      place += partition_point(from + other, size, [&](AnyEntry e) { return e < entry; });
    }
    to[place] = entry;
  }
  __syncthreads();
}

// Sorts `count` < 2^31 entries; returns where they are then: in `entries` or in `spare`. Entry i
// was written by thread i % kThreads, or the block has met at a barrier since; it has at the end.
template <unsigned kThreads, class AnyEntry>
__device__ AnyEntry* sort_entries(AnyEntry* entries, AnyEntry* spare, std::uint32_t count) {
  constexpr std::uint32_t kChunk = SortChunk<AnyEntry>::kSize;
  static_assert(kChunk % kThreads == 0, "a thread reads what it may have written");
  for (std::uint32_t first = 0; first < count; first += kChunk) {
    sort_chunk<kThreads>(entries + first, count - first < kChunk ? count - first : kChunk);
  }
  for (std::uint32_t run = kChunk; run < count; run *= 2) {
    merge_runs<kThreads>(entries, spare, count, run);
    AnyEntry* const merged = spare;
    spare = entries;
    entries = merged;
  }
  return entries;
}

}  // namespace fcos_ops::cuda::detection
