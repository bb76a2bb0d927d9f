// Radix sort by CUB, eight bits a pass (some of whose kernels spill registers, so this file stands
// outside the spill gate); where kernels run on a CPU, by the standard library.
#include "cuda/common/device_radix_sort.h"

#if defined(FCOS_OPS_SIMT)
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>
#else
#include <cub/device/device_radix_sort.cuh>
#endif

namespace fcos_ops::cuda {

// CUB's own query asks the device that is current. This is a bound for all: it needs at most 256
// counters of 4 bytes for each tile, of at least 1024 pairs, and some tables of a fixed size.
// Should it ever need more, it says so, and nothing is sorted.
std::size_t device_radix_sort_scratch_size(std::int64_t count) {
  constexpr std::size_t kTables = 128 * 1024;
  return kTables + static_cast<std::size_t>(count);
}

#if defined(FCOS_OPS_SIMT)

Status device_radix_sort(RadixSortBuffers& buffers, std::int64_t count, std::int32_t num_bits,
                         void*, const Context&) {
  const std::uint64_t mask = num_bits < 64 ? (std::uint64_t{1} << num_bits) - 1 : ~std::uint64_t{0};
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return (buffers.keys[a] & mask) < (buffers.keys[b] & mask);
  });
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t from = order[static_cast<std::size_t>(i)];
    buffers.spare_keys[i] = buffers.keys[from];
    buffers.spare_indices[i] = buffers.indices[from];
  }
  std::swap(buffers.keys, buffers.spare_keys);
  std::swap(buffers.indices, buffers.spare_indices);
  return {};
}

#else

Status device_radix_sort(RadixSortBuffers& buffers, std::int64_t count, std::int32_t num_bits,
                         void* scratch, const Context& context) {
  cub::DoubleBuffer<std::uint64_t> keys(buffers.keys, buffers.spare_keys);
  cub::DoubleBuffer<std::int32_t> indices(buffers.indices, buffers.spare_indices);
  std::size_t size = device_radix_sort_scratch_size(count);
  const cudaError_t error = cub::DeviceRadixSort::SortPairs(
      scratch, size, keys, indices, static_cast<std::int32_t>(count), 0, num_bits,
      static_cast<cudaStream_t>(context.stream));
  if (error != cudaSuccess) return {static_cast<std::int32_t>(error), "sort: radix sort"};
  buffers = {keys.Current(), keys.Alternate(), indices.Current(), indices.Alternate()};
  return {};
}

#endif

}  // namespace fcos_ops::cuda
