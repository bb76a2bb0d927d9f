// Views without holes.
#pragma once

#include <algorithm>
#include <iterator>

#include "fcos_ops/types.h"

namespace fcos_ops {

// True if the elements fill one block of memory that starts at `data`, in whatever order.
inline bool is_dense(const MutableLevelView& view, std::int64_t batch, std::int64_t channels) {
  struct Axis {
    std::int64_t size, stride;
  };
  Axis axes[] = {{batch, view.stride_batch},
                 {channels, view.stride_channel},
                 {view.height, view.stride_y},
                 {view.width, view.stride_x}};
  std::sort(std::begin(axes), std::end(axes),
            [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  std::int64_t next = 1;
  for (const Axis& axis : axes) {
    if (axis.size == 1) continue;
    if (axis.stride != next) return false;
    next *= axis.size;
  }
  return true;
}

}  // namespace fcos_ops
