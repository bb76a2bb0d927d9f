// The test that a location matches a box, and the cells of a level that can possibly match it.
//
// The decisions use + - * and comparisons only, each rounded to Real (sources that include this
// file are compiled without contraction), so that every loop, kernel and the PyTorch reference
// agree.
#pragma once

#include <cstdint>
#include <limits>

#include "fcos_ops/assign_targets.h"
#include "math/box.h"
#include "math/elementary.h"
#include "math/min_max.h"

namespace fcos_ops::math {

// One level as an assignment rule sees it. Lengths are pixels.
template <class Real>
struct MatchLevel {
  Real offset, stride_x, stride_y;  // cell (i, j) is at x = (j + offset) * stride_x, y likewise
  Real radius;                      // half side of the centre square; infinity: the whole box
  Real lower, upper;                // of max(l, t, r, b)
  Real max_area;
  bool chebyshev, inclusive, complement;
};

template <class Real>
MatchLevel<Real> match_level(const AssignmentRule& rule, const AssignmentLevel& level) {
  MatchLevel<Real> result = {};
  result.offset = static_cast<Real>(rule.location_offset);
  result.stride_x = static_cast<Real>(level.stride_x);
  result.stride_y = static_cast<Real>(level.stride_y);
  result.radius = rule.center_radius > 0
                      ? static_cast<Real>(rule.center_radius) * static_cast<Real>(level.scale)
                      : kInfinity<Real>;
  result.lower = static_cast<Real>(level.lower);
  result.upper = static_cast<Real>(level.upper);
  result.max_area = static_cast<Real>(rule.max_area);
  result.chebyshev = rule.center_region == CenterRegion::kChebyshev;
  result.inclusive = rule.range_inclusive;
  result.complement = rule.area_rule == AreaRule::kFloat32Complement;
  return result;
}

template <class Real>
FCOS_HD Sides<Real> sides(Real x, Real y, Box<Real> box) {
  return {x - box.x1, y - box.y1, box.x2 - x, box.y2 - y};
}

// The regression target: those distances, in units of `scale` if `normalize`, else in pixels.
template <class Real>
FCOS_HD Sides<Real> target_sides(Real x, Real y, Box<Real> box, Real scale, bool normalize) {
  const Sides<Real> s = sides(x, y, box);
  if (!normalize) return s;
  return {s.left / scale, s.top / scale, s.right / scale, s.bottom / scale};
}

// The boxes that match a location compete by this: the lowest cost wins, then the lowest index.
// Infinity for a box that matches nowhere: too large, or with a coordinate that is not finite.
template <class Real>
FCOS_HD Real match_cost(Box<Real> box, const MatchLevel<Real>& level) {
  const Real area = (box.x2 - box.x1) * (box.y2 - box.y1);
  const float complement = 1e8f - static_cast<float>(area);
  const bool eligible = (area < level.max_area) & (!level.complement | (complement >= 1e-5f));
  const Real cost = level.complement ? static_cast<Real>(-complement) : area;
  return eligible ? cost : kInfinity<Real>;
}

// The centre of a box along one axis.
template <class Real>
FCOS_HD Real box_center(Real low, Real high) {
  return (low + high) * Real(0.5);
}

template <class Real>
FCOS_HD bool in_center(Real x, Real center, const MatchLevel<Real>& level) {
  return level.chebyshev ? absolute(x - center) < level.radius
                         : (x > center - level.radius) & (x < center + level.radius);
}

// The geometric part: inside the box and its centre square, at a distance within the level's range.
template <class Real>
FCOS_HD bool matches(Real x, Real y, Box<Real> box, const MatchLevel<Real>& level) {
  const Sides<Real> s = sides(x, y, box);
  const Real farthest =
      max_or_second(max_or_second(s.bottom, s.right), max_or_second(s.top, s.left));
  const bool inside = (s.left > 0) & (s.top > 0) & (s.right > 0) & (s.bottom > 0);
  const bool in_range = level.inclusive ? (level.lower <= farthest) & (farthest <= level.upper)
                                        : (level.lower < farthest) & (farthest < level.upper);
  return inside & in_range & in_center(x, box_center(box.x1, box.x2), level) &
         in_center(y, box_center(box.y1, box.y2), level);
}

// ------------------------------------------------------------------------- cells worth looking at

struct CellInterval {
  std::int32_t first, end;
};
struct CellRectangle {
  CellInterval rows, columns;
};

// Bounds below are widened by this share of their terms: more than all roundings can add up to.
template <class Real>
inline constexpr Real kSlack = 16 * std::numeric_limits<Real>::epsilon();

// No matching location is farther from the centre of a box along an axis.
template <class Real>
FCOS_HD Real widened_radius(const MatchLevel<Real>& level, Real center) {
  constexpr Real slack = kSlack<Real>;
  return (1 + slack) * level.radius + slack * absolute(center);
}

// No matching location has a side beyond that. It is more than the range's upper end, also of one
// that is so small that the product rounds to it.
template <class Real>
FCOS_HD Real widened_reach(const MatchLevel<Real>& level) {
  return (1 + kSlack<Real>)*level.upper + kSmallestNormal<Real>;
}

// False only if no location can match, going by the box's longer side.
template <class Real>
FCOS_HD bool size_may_match(Box<Real> box, const MatchLevel<Real>& level) {
  const Real size = max_or_second(box.y2 - box.y1, box.x2 - box.x1);
  const Real nearest = size * Real(0.5);  // no location is nearer to the farthest side
  const Real farthest = min_or_second(nearest + (1 + kSlack<Real>)*level.radius, size);
  const Real slack =
      kSlack<Real> * (absolute(box.x1) + absolute(box.y1) + absolute(box.x2) + absolute(box.y2));
  return !(farthest + slack < level.lower) & !(nearest - slack > level.upper);
}

// The cells within `bounds` of an axis that may match a box that lies from low to high there. A NaN
// on the way widens the interval, it never narrows it.
template <class Real>
FCOS_HD CellInterval candidate_interval(Real low, Real high, const MatchLevel<Real>& level,
                                        Real stride, CellInterval bounds) {
  constexpr Real kLargest = 2147483520;  // below 2^31 in float and double
  constexpr Real slack = kSlack<Real>;
  const Real reach = widened_reach(level);
  const Real center = box_center(low, high);
  const Real radius = widened_radius(level, center);
  Real from = max_or_second(center - radius, max_or_second(high - reach, low));
  Real to = min_or_second(center + radius, min_or_second(low + reach, high));
  const Real inverse_stride = Real(1) / stride;
  from = from * inverse_stride - level.offset;
  to = to * inverse_stride - level.offset;
  from -= slack * (absolute(from) + absolute(level.offset));
  to += slack * (absolute(to) + absolute(level.offset));
  from = from > -1 ? min_or_second(kLargest, from) : Real(-1);
  to = to < kLargest ? max_or_second(Real(-1), to) : kLargest;
  const auto truncated = static_cast<std::int32_t>(from);
  const std::int32_t first = truncated + (static_cast<Real>(truncated) < from ? 1 : 0);
  const std::int32_t end = static_cast<std::int32_t>(to) + 1;
  return {max_or_second(first, bounds.first), min_or_second(end, bounds.end)};
}

// The cells within `bounds` that may match a box; no rows if there are none.
template <class Real>
FCOS_HD CellRectangle candidate_cells(Box<Real> box, const MatchLevel<Real>& level,
                                      const CellRectangle& bounds) {
  const CellInterval rows = candidate_interval(box.y1, box.y2, level, level.stride_y, bounds.rows);
  const CellInterval columns =
      candidate_interval(box.x1, box.x2, level, level.stride_x, bounds.columns);
  const bool some = size_may_match(box, level) & (columns.first < columns.end);
  return {{rows.first, some ? rows.end : rows.first}, columns};
}

}  // namespace fcos_ops::math
