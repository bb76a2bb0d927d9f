// The box of a location's distances to its sides, and boxes inside of images.
#pragma once

#include "common/dtypes.h"
#include "math/box.h"

namespace fcos_ops::math {

// The box whose sides lie `sides` times `unit` pixels from the location (x, y).
template <class Real>
FCOS_HD Box<Real> decode_box(Real x, Real y, const Sides<Real>& sides, Real unit) {
  return {x - sides.left * unit, y - sides.top * unit, x + sides.right * unit,
          y + sides.bottom * unit};
}

// `value` moved into [0, limit]; NaN stays NaN.
template <class Real>
FCOS_HD Real clip_coordinate(Real value, Real limit) {
  const Real positive = value < Real(0) ? Real(0) : value;
  return positive > limit ? limit : positive;
}

template <class Real>
struct ImageSize {
  Real height, width;
};

// The size of an image, out of [batch, 2] integers.
template <class Real>
FCOS_HD ImageSize<Real> read_image_size(const void* sizes, DType dtype, std::int64_t image) {
  return {static_cast<Real>(read_integer(sizes, dtype, 2 * image)),
          static_cast<Real>(read_integer(sizes, dtype, 2 * image + 1))};
}

template <class Real>
FCOS_HD Box<Real> clip_box(const Box<Real>& box, const ImageSize<Real>& size) {
  return {clip_coordinate(box.x1, size.width), clip_coordinate(box.y1, size.height),
          clip_coordinate(box.x2, size.width), clip_coordinate(box.y2, size.height)};
}

// Maps a box inside an image to the pixels that the image had before it was resized. Clipped again,
// as the ratio of the sizes is rounded; an image without pixels has its boxes at 0.
template <class Real>
FCOS_HD Box<Real> undo_resize(const Box<Real>& box, const ImageSize<Real>& size,
                              const ImageSize<Real>& original) {
  const Real x = size.width > Real(0) ? original.width / size.width : Real(0);
  const Real y = size.height > Real(0) ? original.height / size.height : Real(0);
  return clip_box<Real>({box.x1 * x, box.y1 * y, box.x2 * x, box.y2 * y}, original);
}

template <class Real>
FCOS_HD bool has_area(const Box<Real>& box) {
  return box.x2 > box.x1 && box.y2 > box.y1;
}

}  // namespace fcos_ops::math
