// Centerness of a location inside its box (FCOS, arXiv 1904.01355, equation 3).
#pragma once

#include <cmath>
#include <type_traits>

#include "common/dtypes.h"

namespace fcos_ops::math {

// The smaller of two distances over the larger; NaN if either is NaN.
template <class Real>
FCOS_HD Real side_ratio(Real a, Real b) {
  return (a < b ? a : b) / (a < b ? b : a);
}

// sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of the distances to the four sides, in any
// unit; 0 where a side is <= 0, NaN where one is NaN. Every operation rounds once, so equal
// arguments give equal bits in every loop and kernel.
template <class Real>
FCOS_HD Real centerness(Real left, Real top, Real right, Real bottom) {
  const Real value = std::sqrt(side_ratio(left, right) * side_ratio(top, bottom));
  const bool outside = (left <= 0) | (top <= 0) | (right <= 0) | (bottom <= 0);
  const bool ordered = (left == left) & (top == top) & (right == right) & (bottom == bottom);
  return outside & ordered ? Real(0) : value;
}

// The types of a selection of rows that have a loss: masks (not 0) or labels (>= 0).
using Selections = Types<std::int64_t, std::int32_t, std::uint8_t>;

template <class T>
FCOS_HD bool is_selected(T value) {
  return std::is_same_v<T, std::uint8_t> ? value != 0 : value >= 0;
}

}  // namespace fcos_ops::math
