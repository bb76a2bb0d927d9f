// A box by two corners, in pixels.
#pragma once

namespace fcos_ops::math {

template <class Real>
struct Box {
  Real x1, y1, x2, y2;
};

}  // namespace fcos_ops::math
