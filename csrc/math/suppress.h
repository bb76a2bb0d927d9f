// The two decisions of non-maximum suppression: the order of scores and the overlap of two boxes.
// Both are exact rules of + - * and comparisons; sources that include this file are compiled
// without contraction, so that every operation rounds by itself.
#pragma once

#include "math/box.h"
#include "math/elementary.h"
#include "math/min_max.h"

namespace fcos_ops::math {

template <class Real>
FCOS_HD bool has_nan(const Box<Real>& box) {
  return box.x1 != box.x1 || box.y1 != box.y1 || box.x2 != box.x2 || box.y2 != box.y2;
}

template <class Real>
FCOS_HD Real area(const Box<Real>& box) {
  const Real width = box.x2 - box.x1, height = box.y2 - box.y1;
  return (width > Real(0) ? width : Real(0)) * (height > Real(0) ? height : Real(0));
}

// IoU > threshold without a division. Symmetric in a and b. Not for NaN.
template <class Real>
FCOS_HD bool overlap(const Box<Real>& a, Real area_a, const Box<Real>& b, Real area_b,
                     Real threshold) {
  const Real width = min_of_numbers(a.x2, b.x2) - max_of_numbers(a.x1, b.x1);
  const Real height = min_of_numbers(a.y2, b.y2) - max_of_numbers(a.y1, b.y1);
  const Real intersection =
      (width > Real(0) ? width : Real(0)) * (height > Real(0) ? height : Real(0));
  return intersection > threshold * (area_a + area_b - intersection);
}

// True if a box of this area can overlap any other. An intersection rounds to at most the smaller
// area, so without area there is none; and an infinite area makes the union infinite or NaN, which
// no intersection exceeds.
template <class Real>
FCOS_HD bool can_overlap(Real area) {
  return area > Real(0) && area - area == Real(0);
}

// Integer keys: ascending keys are descending scores; -0 equals +0. Not for NaN.
template <class Real>
FCOS_HD Bits<Real> descending_key(Real score) {
  constexpr Bits<Real> kMinusZero = Bits<Real>{1} << (8 * sizeof(Real) - 1), kRest = kMinusZero - 1;
  const auto bits = bit_cast<Bits<Real>>(score);
  if (bits >= kMinusZero) return bits == kMinusZero ? kRest : bits;
  return bits ^ kRest;
}

}  // namespace fcos_ops::math
