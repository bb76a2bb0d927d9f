// From distances to the sides of a box, back to the box.
#pragma once

#include "math/box.h"

namespace fcos_ops::math {

// ltrb times `unit` are distances in pixels from the location (x, y).
template <class Real>
FCOS_HD Box<Real> decode_box(Real x, Real y, const Box<Real>& ltrb, Real unit) {
  return {x - ltrb.x1 * unit, y - ltrb.y1 * unit, x + ltrb.x2 * unit, y + ltrb.y2 * unit};
}

// value, moved into [0, limit]; NaN stays NaN.
template <class Real>
FCOS_HD Real clip_coordinate(Real value, Real limit) {
  const Real positive = value < Real(0) ? Real(0) : value;
  return positive > limit ? limit : positive;
}

template <class Real>
FCOS_HD Box<Real> clip_box(const Box<Real>& box, Real width, Real height) {
  return {clip_coordinate(box.x1, width), clip_coordinate(box.y1, height),
          clip_coordinate(box.x2, width), clip_coordinate(box.y2, height)};
}

template <class Real>
FCOS_HD bool has_area(const Box<Real>& box) {
  return box.x2 > box.x1 && box.y2 > box.y1;
}

}  // namespace fcos_ops::math
