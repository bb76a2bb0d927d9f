// Runs of locations that level views are cut into.
#pragma once

#include "common/dtypes.h"
#include "fcos_ops/types.h"

namespace fcos_ops::cpu {

// A level whose locations lie one stride apart is one long line of them, whatever its width.
template <class View>
bool is_one_line(const View& view) {
  return view.height == 1 || view.stride_y == view.width * view.stride_x;
}

// A run of locations that are neighbours along x: batch entry `batch`, row y, x in [x, x + length).
struct LocationRun {
  std::int32_t level;
  std::int64_t batch, y, x, length;
  std::int64_t first_row;  // of the run within the batch entry's rows over all levels
};

// Cuts a pyramid into runs of at most kLength locations. Equal arguments give equal runs, whatever
// the number of threads, so a sum over runs is reproducible.
template <std::int64_t kLength>
class LocationRuns {
 public:
  LocationRuns(const LevelView* levels, std::int32_t num_levels, std::int64_t batch)
      : levels_(levels), num_levels_(num_levels), batch_(batch) {
    for (std::int32_t i = 0; i < num_levels; ++i) {
      count_ += batch * levels[i].height * runs_per_y(levels[i]);
      rows_ += levels[i].height * levels[i].width;
    }
  }

  std::int64_t count() const { return count_; }
  std::int64_t rows() const { return rows_; }  // locations of one batch entry

  LocationRun operator[](std::int64_t index) const {
    std::int64_t first_row = 0;
    std::int32_t level = 0;
    for (; level + 1 < num_levels_; ++level) {
      const std::int64_t runs = batch_ * levels_[level].height * runs_per_y(levels_[level]);
      if (index < runs) break;
      index -= runs;
      first_row += levels_[level].height * levels_[level].width;
    }
    const LevelView& view = levels_[level];
    const std::int64_t per_y = runs_per_y(view);
    const std::int64_t x = index % per_y * kLength;
    const std::int64_t y = index / per_y % view.height;
    const std::int64_t length = view.width - x < kLength ? view.width - x : kLength;
    return {level, index / per_y / view.height, y, x, length, first_row + y * view.width + x};
  }

 private:
  static std::int64_t runs_per_y(const LevelView& view) {
    return (view.width + kLength - 1) / kLength;
  }

  const LevelView* levels_;
  std::int32_t num_levels_;
  std::int64_t batch_;
  std::int64_t count_ = 0, rows_ = 0;
};

// Element (batch, y, x, channel 0) of a view over elements of type T.
template <class T, class Pointer>
auto* element(const BasicLevelView<Pointer>& view, std::int64_t batch, std::int64_t y,
              std::int64_t x) {
  return math::Type<T>().array(view.data) + batch * view.stride_batch + y * view.stride_y +
         x * view.stride_x;
}

}  // namespace fcos_ops::cpu
