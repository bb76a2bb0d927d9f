// A box by two corners, in pixels.
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

}  // namespace fcos_ops::math
