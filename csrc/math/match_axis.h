// The test of match.h axis by axis, for many locations and many boxes: what a box asks of a
// coordinate is computed once, and a coordinate is tested once for all locations that have it.
#pragma once

#include "math/match.h"

namespace fcos_ops::math {

// A box along one axis. Only locations between `from` and `to` can match: that is the box, cut to
// what is surely needed of its centre square and of the range's upper end.
template <class Real>
struct BoxAxis {
  Real low, high, from, to;
};

// The locations of neighbouring cells along an axis: of the first, and of the last.
template <class Real>
struct Span {
  Real first, last;
};

// What a location has of a match along one axis.
template <class Real>
struct AxisMatch {
  bool inside;    // the box and its centre square
  Real farthest;  // distance to one of the two sides
};

// The side of a box of finite coordinates along one axis. The centre square is cut exactly where it
// is clipped to the box, else with slack: then `match_axis` tests it. A NaN bound matches nothing
// where it comes of the centre, as a centre that is not finite matches nothing.
template <class Real>
FCOS_HD BoxAxis<Real> box_axis(Real low, Real high, const MatchLevel<Real>& level) {
  constexpr Real slack = kSlack<Real>;
  const Real center = box_center(low, high);
  const Real radius = level.chebyshev ? widened_radius(level, center) : level.radius;
  const Real reach = widened_reach(level);
  const Real from =
      max_or_second(high - reach - slack * absolute(high), max_or_second(low, center - radius));
  const Real to =
      min_or_second(low + reach + slack * absolute(low), min_or_second(high, center + radius));
  return {low, high, from, to};
}

// False only if no location of the span can match.
template <class Real>
FCOS_HD bool may_match(const BoxAxis<Real>& box, const Span<Real>& span) {
  return (span.last > box.from) & (span.first < box.to);
}

// `chebyshev_radius`: half side of the centre square that is not clipped; NaN: it is.
template <class Real>
FCOS_HD AxisMatch<Real> match_axis(Real x, const BoxAxis<Real>& box, Real center,
                                   Real chebyshev_radius) {
  const bool inside = (x > box.from) & (x < box.to) & !(absolute(x - center) >= chebyshev_radius);
  return {inside, max_of_numbers(x - box.low, box.high - x)};
}

// As `matches` decides, for the closed range of distances from lower to upper.
template <class Real>
FCOS_HD bool matches(const AxisMatch<Real>& x, const AxisMatch<Real>& y, Real lower, Real upper) {
  const Real farthest = max_of_numbers(x.farthest, y.farthest);
  return x.inside & y.inside & (lower <= farthest) & (farthest <= upper);
}

}  // namespace fcos_ops::math
