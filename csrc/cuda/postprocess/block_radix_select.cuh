// The best k of a list of keys by one block: radix selection.
//
// Pass by pass, the keys that can still be the k-th are counted by their next 9 bits in a histogram
// in shared memory, one bin a thread, until the k-th is known; the list is only read. Keys of
// scores in a narrow range agree in their highest bits. Those are skipped: they would put all keys
// into one bin, where atomic operations wait for each other.
#pragma once

#include "common/integers.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/postprocess/topk_key.cuh"

namespace fcos_ops::cuda::detection {

inline constexpr unsigned kSelectThreads = 512;

struct SelectBin {
  std::uint32_t bin, before, size;
};

template <class Key>
struct SelectMemory {
  std::uint32_t histogram[kSelectThreads];
  std::uint32_t warp_total[kSelectThreads / kWarp];
  SelectBin found;
  Key difference[kSelectThreads / kWarp];
};

__device__ __forceinline__ std::uint64_t warp_or(std::uint64_t value) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    value |= __shfl_xor_sync(kFullMask, value, lanes);
  }
  return value;
}
__device__ __forceinline__ unsigned __int128 warp_or(unsigned __int128 value) {
  const std::uint64_t high = warp_or(static_cast<std::uint64_t>(value >> 64));
  const std::uint64_t low = warp_or(static_cast<std::uint64_t>(value));
  return (static_cast<unsigned __int128>(high) << 64) | low;
}

// The number of lowest bits in which the keys differ.
template <class Key>
__device__ __forceinline__ unsigned differing_bits(const Key* keys, std::uint32_t count) {
  auto& shared = block_shared<SelectMemory<Key>>();
  const Key first = keys[0];
  Key difference = 0;
  for (std::uint32_t i = threadIdx.x; i < count; i += kSelectThreads) {
    difference |= keys[i] ^ first;
  }
  difference = warp_or(difference);
  if (threadIdx.x % kWarp == 0) shared.difference[threadIdx.x / kWarp] = difference;
  __syncthreads();
  for (unsigned warp = 0; warp < kSelectThreads / kWarp; ++warp) {
    difference |= shared.difference[warp];
  }
  return math::bit_width(difference);
}

// The bin of the histogram that holds the k-th key, counted from 1.
template <class Key>
__device__ __forceinline__ SelectBin find_bin(std::uint32_t k) {
  auto& shared = block_shared<SelectMemory<Key>>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const std::uint32_t size = shared.histogram[threadIdx.x];
  std::uint32_t through = warp_inclusive_sum(size);  // keys in the bins up to this one
  if (lane == kWarp - 1) shared.warp_total[warp] = through;
  __syncthreads();
  for (unsigned w = 0; w < warp; ++w) through += shared.warp_total[w];
  if (through - size < k && k <= through) shared.found = {threadIdx.x, through - size, size};
  __syncthreads();
  return shared.found;
}

// A threshold that exactly k keys of the list do not exceed. 0 < k <= count; no two keys are equal.
// All kSelectThreads threads of the block call it.
template <class Key>
__device__ Key topk_threshold(const Key* keys, std::uint32_t count, std::uint32_t k) {
  constexpr unsigned kDigit = 9;
  static_assert(kSelectThreads == 1u << kDigit);
  auto& shared = block_shared<SelectMemory<Key>>();
  unsigned bits = differing_bits(keys, count);  // of the k-th key that are not known yet
  Key known = keys[0] >> bits;                  // its other bits
  SelectBin bin = {0, 0, count};
  while (bits > 0 && bin.size > k) {
    const unsigned digit = bits < kDigit ? bits : kDigit, shift = bits - digit;
    shared.histogram[threadIdx.x] = 0;
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; i < count; i += kSelectThreads) {
      const Key key = keys[i];
      if (key >> bits != known) continue;
      atomicAdd(&shared.histogram[static_cast<unsigned>(key >> shift) & ((1u << digit) - 1)], 1u);
    }
    __syncthreads();
    bin = find_bin<Key>(k);
    known = (known << digit) | bin.bin;
    k -= bin.before;
    bits = shift;
  }
  return (known << bits) | ((Key{1} << bits) - 1);
}

}  // namespace fcos_ops::cuda::detection
