// Argument checks that several ops share.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "common/dtypes.h"
#include "fcos_ops/assign_targets.h"
#include "fcos_ops/types.h"

namespace fcos_ops {

// What the header of an op asks of its arguments, and the message where it is not so.
struct Requirement {
  bool is_met;
  const char* message;
};

// kInvalidArgument by the first that is not met.
inline Status require(std::initializer_list<Requirement> requirements) {
  for (const Requirement& requirement : requirements) {
    if (!requirement.is_met) return {kInvalidArgument, requirement.message};
  }
  return {};
}

inline bool on_cpu(const Context& context) { return context.device == kCpuDevice; }

inline bool is_level_count(std::int32_t count) { return count >= 0 && count <= kMaxLevels; }

inline bool is_floating(DType dtype) { return math::is_among(math::Floating{}, dtype); }

inline bool is_integer(DType dtype) { return math::is_among(math::Integers{}, dtype); }

// True for an enumerator of an enum that counts up from 0 to `last`.
template <class Enum>
constexpr bool is_enumerator(Enum value, Enum last) {
  return value >= Enum{} && value <= last;
}

inline bool is_normalizer(const Normalizer& normalizer) {
  return normalizer.data == nullptr || math::is_among(math::Numbers{}, normalizer.dtype);
}

inline bool is_class_count(std::int64_t count) { return count >= 0 && count <= kMaxClasses; }

// At infinity u^gamma would be NaN at u = 1.
inline bool is_focal_gamma(double gamma) { return gamma >= 0.0 && gamma <= 3e38; }

inline bool is_iou_eps(double eps) { return eps >= 1.17549435e-38 && eps <= 3e38; }

inline bool is_iou_threshold(double threshold) { return threshold >= 0.0 && threshold <= 1.0; }

// True if an array may have these sizes: see kMaxElements.
inline bool are_sizes(std::initializer_list<std::int64_t> sizes) {
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) {
    if (size < 0 || __builtin_mul_overflow(product, std::max<std::int64_t>(size, 1), &product) ||
        product > kMaxElements) {
      return false;
    }
  }
  return true;
}

// True if the levels, at most kMaxLevels of anything with a height and a width, are there and have
// sizes for batch and channels.
template <class Level>
bool are_levels(const Level* levels, std::int32_t num_levels, std::int64_t batch,
                std::int64_t channels) {
  if (!is_level_count(num_levels) || !are_sizes({batch, channels})) return false;
  if (levels == nullptr && num_levels > 0) return false;
  for (std::int32_t i = 0; i < num_levels; ++i) {
    if (!are_sizes({batch, channels, levels[i].height, levels[i].width})) return false;
  }
  return true;
}

// The locations of one image over all levels, which must pass are_levels.
template <class Level>
std::int64_t count_rows(const Level* levels, std::int32_t num_levels) {
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < num_levels; ++i) rows += levels[i].height * levels[i].width;
  return rows;
}

// True if the views are there, have the sizes of the levels, which must pass are_levels, and have
// data where there are elements, `elements` (batch times channels) of a location.
template <class View, class Level>
bool are_views(const View* views, const Level* levels, std::int32_t num_levels,
               std::int64_t elements) {
  if (views == nullptr && num_levels > 0) return false;
  for (std::int32_t i = 0; i < num_levels; ++i) {
    const std::int64_t height = levels[i].height, width = levels[i].width;
    if (views[i].height != height || views[i].width != width) return false;
    if (views[i].data == nullptr && elements * height * width > 0) return false;
  }
  return true;
}

// True if the outputs of a head, or the gradients by them, have data and the sizes of its logits.
template <class Args, class View>
bool is_head(const Args& args, const View* views, std::int64_t channels) {
  return are_views(views, args.class_logits, args.num_levels, args.batch * channels);
}

// True if that is so of all three outputs of the heads.
template <class Args>
bool are_heads(const Args& args) {
  return is_head(args, args.class_logits, args.num_classes) && is_head(args, args.ltrb, 4) &&
         is_head(args, args.centerness, 1);
}

// True if heads of these dtypes, which are computed together, are floating, all or none kFloat64.
inline bool are_head_dtypes(std::initializer_list<DType> dtypes) {
  const std::int64_t doubles = std::count(dtypes.begin(), dtypes.end(), DType::kFloat64);
  return std::all_of(dtypes.begin(), dtypes.end(), is_floating) &&
         (doubles == 0 || doubles == static_cast<std::int64_t>(dtypes.size()));
}

// The most cells along a level's height and width: they are counted in 32 bits, the one past the
// end included.
inline constexpr std::int64_t kMaxCells = std::numeric_limits<std::int32_t>::max() - 1;

// True if levels, which must pass are_levels, have the sizes and strides that AssignmentLevel
// allows.
inline bool are_assignment_levels(const AssignmentLevel* levels, std::int32_t num_levels) {
  return std::all_of(levels, levels + num_levels, [](const AssignmentLevel& level) {
    return std::max(level.height, level.width) <= kMaxCells &&
           std::min(level.stride_y, level.stride_x) > 0;
  });
}

// `size`: what the query says.
inline Status check_workspace(const Workspace& workspace, std::size_t size, const char* message) {
  if (workspace.size < size) return {kWorkspaceTooSmall, message};
  const bool aligned = reinterpret_cast<std::uintptr_t>(workspace.data) % 16 == 0;
  if (size > 0 && (workspace.data == nullptr || !aligned)) return {kInvalidArgument, message};
  return {};
}

}  // namespace fcos_ops
