// A box by two corners, in pixels, or by the distances of a location to its sides.
#pragma once

#include "math/half.h"

namespace fcos_ops::math {

template <class Real>
struct Box {
  Real x1, y1, x2, y2;
};

// The box of four numbers of any floating type.
template <class T>
FCOS_HD Box<Real<T>> load_box(const T* xyxy) {
  return {to_real(xyxy[0]), to_real(xyxy[1]), to_real(xyxy[2]), to_real(xyxy[3])};
}

// Distances from a location to the sides of a box.
template <class Real>
struct Sides {
  Real left, top, right, bottom;
};

// The coordinate, in pixels, of cell `index` along an axis.
template <class Index, class Real>
FCOS_HD Real location(Index index, Real offset, Real stride) {
  return (static_cast<Real>(index) + offset) * stride;
}

}  // namespace fcos_ops::math
