// The regression targets of a location that matches a box.
#pragma once

#include "math/centerness.h"
#include "math/match.h"

namespace fcos_ops::math {

template <class Real>
struct LocationTarget {
  Sides<Real> sides;
  Real centerness;
};

// The targets of cell (y, x) of a level, which has strides and a scale. Rounded as assign_targets
// rounds it, which computes in the type of the boxes.
template <class Real, class Level>
FCOS_HD LocationTarget<Real> location_target(std::int64_t x, std::int64_t y, double offset,
                                             const Level& level, Box<Real> box, bool normalize) {
  const auto along = [offset](std::int64_t index, auto stride) {
    return location(static_cast<std::int32_t>(index), static_cast<Real>(offset),
                    static_cast<Real>(stride));
  };
  const Sides<Real> s = target_sides(along(x, level.stride_x), along(y, level.stride_y), box,
                                     static_cast<Real>(level.scale), normalize);
  return {s, centerness(s.left, s.top, s.right, s.bottom)};
}

}  // namespace fcos_ops::math
