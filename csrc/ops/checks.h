// What the argument checks of several ops share.
#pragma once

#include "fcos_ops/focal_loss.h"
#include "fcos_ops/types.h"
#include "math/dtypes.h"

namespace fcos_ops {

constexpr Status invalid(const char* message) { return {kInvalidArgument, message}; }

inline bool on_cpu(const Context& context) { return context.device == kCpuDevice; }

inline bool is_level_count(std::int32_t count) { return count >= 0 && count <= kMaxLevels; }

inline bool is_floating(DType dtype) { return math::is_among(math::Floating{}, dtype); }

inline bool is_integer(DType dtype) { return math::is_among(math::Integers{}, dtype); }

inline bool is_class_count(std::int64_t count) { return count >= 0 && count <= kMaxClasses; }

// At infinity u^gamma would be NaN at u = 1.
inline bool is_focal_gamma(double gamma) { return gamma >= 0.0 && gamma <= 3e38; }

// Locations of one image over all levels.
inline std::int64_t count_rows(const LevelView* levels, std::int32_t num_levels) {
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < num_levels; ++i) rows += levels[i].height * levels[i].width;
  return rows;
}

}  // namespace fcos_ops
