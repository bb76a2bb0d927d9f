// How the levels of a group norm are cut into tasks on a CPU.
#pragma once

#include <algorithm>
#include <array>

#include "cpu/common/levels.h"
#include "fcos_ops/types.h"

namespace fcos_ops::cpu::norm {

// Locations of a run of rows: 128 KiB of 256 float channels, which the second cache holds.
inline constexpr std::int64_t kRunLocations = 128;

// A level whose channels are neighbours in memory, in all tensors, is taken by rows, in runs of
// them; of any other a task takes a whole group, channel by channel.
struct LevelPlan {
  bool by_rows = false;
  std::int64_t locations = 0;
  std::int64_t height = 0, width = 0;  // of lines of locations one stride apart
  std::int64_t runs_per_image = 0, first_run = 0;
};

// Rows [x, x + length) of line y.
struct RowRun {
  std::int32_t level;
  std::int64_t image, y, x, length;
};

// The level and image of a pair, counted level by level.
struct LevelImage {
  std::int32_t level;
  std::int64_t image;
};

// As many as maps of these sizes can have, whatever the layout of any tensor.
using Runs = LocationRuns<kRunLocations>;

class Plan {
 public:
  // `views` are those of all tensors, or null.
  template <class... Views>
  Plan(const LevelView* maps, std::int32_t num_levels, std::int64_t batch, std::int64_t channels,
       const Views*... views)
      : num_levels_(num_levels), batch_(batch) {
    for (std::int32_t i = 0; i < num_levels; ++i) {
      LevelPlan& level = levels_[i];
      const LevelView& map = maps[i];
      level.by_rows = channels > 1 && map.stride_channel == 1 &&
                      ((views == nullptr || views[i].stride_channel == 1) && ...);
      const bool is_line = is_one_line(map) && ((views == nullptr || is_one_line(views[i])) && ...);
      level.locations = map.height * map.width;
      level.height = is_line ? std::min<std::int64_t>(map.height, 1) : map.height;
      level.width = is_line ? level.locations : map.width;
      level.first_run = runs_;
      if (!level.by_rows || channels == 0) continue;
      level.runs_per_image = level.height * runs_per_line(level);
      runs_ += batch * level.runs_per_image;
    }
  }

  const LevelPlan& operator[](std::int32_t level) const { return levels_[level]; }
  std::int64_t runs() const { return runs_; }
  std::int64_t pairs() const { return num_levels_ * batch_; }

  LevelImage pair(std::int64_t index) const {
    return {static_cast<std::int32_t>(index / batch_), index % batch_};
  }

  RowRun run(std::int64_t index) const {
    std::int32_t level = 0;
    while (level + 1 < num_levels_ && index >= levels_[level + 1].first_run) ++level;
    const LevelPlan& plan = levels_[level];
    index -= plan.first_run;
    const std::int64_t image = index / plan.runs_per_image;
    index %= plan.runs_per_image;
    const std::int64_t x = index % runs_per_line(plan) * kRunLocations;
    return {level, image, index / runs_per_line(plan), x, std::min(plan.width - x, kRunLocations)};
  }

 private:
  static std::int64_t runs_per_line(const LevelPlan& level) {
    return (level.width + kRunLocations - 1) / kRunLocations;
  }

  std::array<LevelPlan, kMaxLevels> levels_ = {};
  std::int32_t num_levels_;
  std::int64_t batch_, runs_ = 0;
};

}  // namespace fcos_ops::cpu::norm
