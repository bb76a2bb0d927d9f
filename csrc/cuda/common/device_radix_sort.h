// A stable sort of pairs on the device: what this library has of CUB, in one source file.
#pragma once

#include "fcos_ops/types.h"

namespace fcos_ops::cuda {

// Keys with an index each, and as much memory again: device_radix_sort() may leave its result
// in either half, and exchanges the pointers so that `keys` and `indices` are it.
struct RadixSortBuffers {
  std::uint64_t *keys, *spare_keys;
  std::int32_t *indices, *spare_indices;
};

// Bytes of scratch memory that device_radix_sort() takes, aligned to 256. On every device: it
// depends on nothing but the count, which is below 2^31.
std::size_t device_radix_sort_scratch_size(std::int64_t count);

// Sorts upwards by the `num_bits` lowest bits of the keys; equal ones stay in their order.
Status device_radix_sort(RadixSortBuffers& buffers, std::int64_t count, std::int32_t num_bits,
                         void* scratch, const Context& context);

}  // namespace fcos_ops::cuda
