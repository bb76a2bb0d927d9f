// Cutting the locations of a batch of pyramids into bands of neighbouring rows.
#pragma once

#include <algorithm>

#include "fcos_ops/assign_targets.h"
#include "math/match.h"

namespace fcos_ops::cpu::assignment {

// Some rows of a level of an image.
struct RowBand {
  std::int64_t image;
  std::int32_t level;
  math::CellInterval rows;
  std::int64_t first_location;  // of the level, within the locations of an image
};

// The bands do not depend on the number of threads, so a sum over them is reproducible.
class RowBands {
 public:
  RowBands(const AssignmentLevel* levels, std::int32_t num_levels, std::int64_t batch)
      : levels_(levels) {
    for (std::int32_t i = 0; i < num_levels; ++i) {
      per_image_ += bands(levels_[i]);
      locations_ += levels_[i].height * levels_[i].width;
    }
    count_ = per_image_ * batch;
  }

  std::int64_t count() const { return count_; }
  std::int64_t per_image() const { return per_image_; }
  std::int64_t locations() const { return locations_; }  // of one image

  RowBand operator[](std::int64_t index) const {
    std::int64_t band = index % per_image_, first_location = 0;
    std::int32_t level = 0;
    for (; band >= bands(levels_[level]); ++level) {
      band -= bands(levels_[level]);
      first_location += levels_[level].height * levels_[level].width;
    }
    const std::int64_t rows = band_rows(levels_[level]), begin = band * rows;
    const std::int64_t end = std::min(begin + rows, levels_[level].height);
    return {index / per_image_,
            level,
            {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end)},
            first_location};
  }

 private:
  // Locations of a band, at most: few enough to stay in a second-level cache and to keep threads
  // busy, so many that what is done once a band costs little.
  static constexpr std::int64_t kLocations = 10240;

  // Rows of a band, so that bands are about equal; the last one may have fewer.
  static std::int64_t band_rows(const AssignmentLevel& level) {
    const std::int64_t at_most = std::max<std::int64_t>(kLocations / level.width, 1);
    return divide_up(level.height, divide_up(level.height, at_most));
  }
  static std::int64_t bands(const AssignmentLevel& level) {
    if (level.height == 0 || level.width == 0) return 0;
    return divide_up(level.height, band_rows(level));
  }
  static std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a - 1) / b + 1; }

  const AssignmentLevel* levels_;
  std::int64_t per_image_ = 0, count_ = 0, locations_ = 0;
};

}  // namespace fcos_ops::cpu::assignment
