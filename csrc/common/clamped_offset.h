// The offsets at which the items of a list begin in a ragged array.
#pragma once

#include "common/dtypes.h"

namespace fcos_ops::math {

FCOS_HD std::int64_t clamp_offset(std::int64_t offset, std::int64_t low, std::int64_t high) {
  if (offset < low) return low;
  return offset < high ? offset : high;
}

// Element `index` of offsets, clamped to [low, high]: others may write them at any time, and
// nothing says that they were right before, so a bound is only one where it is read.
FCOS_HD std::int64_t clamped_offset(const void* offsets, DType dtype, std::int64_t index,
                                    std::int64_t low, std::int64_t high) {
  return clamp_offset(read_integer(offsets, dtype, index), low, high);
}

}  // namespace fcos_ops::math
