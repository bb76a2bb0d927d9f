// Cutting a batch of pyramids into tiles of neighbouring locations of one level: one a block.
#pragma once

#include "common/integers.h"
#include "fcos_ops/types.h"
#include "math/qualifiers.h"

namespace fcos_ops::cuda {

// The views of a pyramid's levels as a kernel argument.
template <class View>
struct Views {
  View level[kMaxLevels];
};

template <class View>
Views<View> views_of(const View* levels, std::int32_t num_levels) {
  Views<View> views = {};
  for (std::int32_t i = 0; levels != nullptr && i < num_levels; ++i) views.level[i] = levels[i];
  return views;
}

// Locations [first, end) of a level of an image, in row-major order. `row` is that of `first` among
// the locations of all levels and images, as contiguous [batch, rows] arrays have them.
struct Tile {
  std::int32_t level;
  std::int64_t image, first, end, row;
};

// The tiles of a batch: those of image 0 come first, of level 0, then of level 1, ...
class Tiles {
 public:
  // `levels` have a height and a width.
  template <class Level>
  Tiles(const Level* levels, std::int32_t num_levels, std::int64_t batch, std::int64_t locations)
      : num_levels_(num_levels), batch_(batch), locations_(locations) {
    for (std::int32_t i = 0; i < num_levels; ++i) {
      size_[i] = levels[i].height * levels[i].width;
      first_tile_[i] = per_image_;
      first_row_[i] = rows_;
      per_image_ += (size_[i] + locations - 1) / locations;
      rows_ += size_[i];
    }
  }

  FCOS_HD std::int64_t count() const { return per_image_ * batch_; }
  FCOS_HD std::int64_t rows() const { return rows_; }            // locations of an image
  FCOS_HD std::int64_t tile_size() const { return locations_; }  // of one that is not cut off
  FCOS_HD std::int64_t locations(std::int32_t level) const { return size_[level]; }
  FCOS_HD std::int64_t count(std::int32_t level) const {  // of one image
    return (size_[level] + locations_ - 1) / locations_;
  }
  FCOS_HD std::int64_t largest_count() const {  // of a level of one image
    std::int64_t largest = 0;
    for (std::int32_t i = 0; i < num_levels_; ++i)
      largest = count(i) > largest ? count(i) : largest;
    return largest;
  }
  FCOS_HD std::int64_t maps() const { return num_levels_ * batch_; }  // levels of the batch
  FCOS_HD std::int64_t map(const Tile& tile) const {  // its number among those of the batch
    return tile.image * num_levels_ + tile.level;
  }

  FCOS_HD Tile operator[](std::int64_t index) const {
    const auto [image, tile] = math::divide(index, per_image_);
    std::int32_t level = num_levels_ - 1;
    while (tile < first_tile_[level]) --level;
    const std::int64_t first = (tile - first_tile_[level]) * locations_;
    const std::int64_t end = first + locations_ < size_[level] ? first + locations_ : size_[level];
    return {level, image, first, end, image * rows_ + first_row_[level] + first};
  }

 private:
  std::int32_t num_levels_;
  std::int64_t batch_, locations_;
  std::int64_t per_image_ = 0, rows_ = 0;
  std::int64_t size_[kMaxLevels] = {}, first_tile_[kMaxLevels] = {}, first_row_[kMaxLevels] = {};
};

// The offset, in elements, of channel 0 of a location of an image.
template <class View>
FCOS_HD std::int64_t element_offset(const View& view, std::int64_t image, std::int64_t location) {
  if (view.height == 1) return image * view.stride_batch + location * view.stride_x;
  const auto [y, x] = math::divide(location, view.width);
  return image * view.stride_batch + y * view.stride_y + x * view.stride_x;
}

// Blocks are counted in 31 bits.
inline constexpr std::int64_t kMaxBlocks = 0x7fffffff;

inline Status too_large(const char* message) { return {kInvalidArgument, message}; }

}  // namespace fcos_ops::cuda
