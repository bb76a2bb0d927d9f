// The tiles by which the blocks of a launch share the logits of all levels and images.
#pragma once

#include <algorithm>

#include "cuda/focal_loss/elements.cuh"

namespace fcos_ops::cuda::focal {

// Blocks that have a sum each; beyond, a block takes several tiles. Several times what an H200
// can run at once, and few enough to add up in no time.
inline constexpr std::int64_t kMaxFocalBlocks = 4096;

// The sizes of an op's class logits, and its arrays of their shape: all but the logits are
// optional.
struct FocalProblem {
  const LevelView* logits;
  const MutableLevelView* gradient;
  std::int32_t num_levels;
  std::int64_t batch, num_classes;
  const LevelView* targets = nullptr;
  const MutableLevelView* losses = nullptr;

  // True if `test` holds for a level of every array.
  template <class Test>
  bool all_arrays(std::int32_t level, const Test& test) const {
    return test(logits[level]) && (targets == nullptr || test(targets[level])) &&
           (losses == nullptr || test(losses[level])) &&
           (gradient == nullptr || test(gradient[level]));
  }

  // True if it does for every level.
  template <class Test>
  bool all_levels(const Test& test) const {
    for (std::int32_t i = 0; i < num_levels; ++i) {
      if (!all_arrays(i, test)) return false;
    }
    return true;
  }
};

// True if the classes of all locations of a level of an image form one line.
template <class View>
bool is_location_major(const View& view, std::int64_t num_classes) {
  return (num_classes == 1 || view.stride_channel == 1) &&
         (view.width == 1 || view.stride_x == num_classes) &&
         (view.height == 1 || view.stride_y == view.width * num_classes);
}

// True if the locations of each class of a level of an image form one line.
template <class View>
bool is_class_major(const View& view) {
  return (view.width == 1 || view.stride_x == 1) &&
         (view.height == 1 || view.stride_y == view.width);
}

// True if blocks take location-major tiles: where every array allows it; for rows shorter than a
// vector only where class-major tiles are no alternative.
template <class T>
bool takes_location_major(const FocalProblem& problem) {
  const std::int64_t num_classes = problem.num_classes;
  const auto has_rows = [&](const auto& view) { return is_location_major(view, num_classes); };
  const auto has_planes = [](const auto& view) { return is_class_major(view); };
  return problem.all_levels(has_rows) &&
         (num_classes >= kVector<T> || !problem.all_levels(has_planes));
}

template <class View>
auto level_array(const View* levels, std::int32_t level) {
  LevelArray<decltype(levels->data)> array;
  if (levels != nullptr) {
    const View& view = levels[level];
    array = {view.data, view.stride_batch, view.stride_y, view.stride_x, view.stride_channel};
  }
  return array;
}

inline FastDivisor divisor_of(std::int64_t number) {
  return FastDivisor(static_cast<std::uint32_t>(std::max<std::int64_t>(number, 1)));
}

// The arguments of a problem; what is left out is for the op to set.
template <class Real>
FocalArguments<Real> focal_arguments(const FocalProblem& problem, double alpha, double gamma,
                                     double scale) {
  const math::AlphaWeights weights = math::alpha_weights(alpha);
  const auto has_planes = [](const auto& view) { return is_class_major(view); };
  FocalArguments<Real> args = {};
  for (std::int32_t i = 0; i < problem.num_levels; ++i) {
    args.level[i] = {problem.logits[i].width,        problem.all_arrays(i, has_planes),
                     level_array(problem.logits, i), level_array(problem.targets, i),
                     level_array(problem.losses, i), level_array(problem.gradient, i)};
  }
  args.num_classes = static_cast<std::int32_t>(problem.num_classes);
  args.class_divisor = divisor_of(problem.num_classes);
  args.positive_scale = static_cast<Real>(scale * weights.positive);
  args.negative_scale = static_cast<Real>(scale * weights.negative);
  args.gamma = static_cast<Real>(gamma);
  return args;
}

// A block a tile, but no more than `most`.
inline unsigned blocks_of(std::int64_t tiles, std::int64_t most) {
  return static_cast<unsigned>(std::min(tiles, most));
}

// A block's share i is chunk i % chunks of tile i / chunks. A location-major tile is neighbouring
// elements, in one chunk; a class-major one is neighbouring locations, in chunks of `channels`
// classes.
struct FocalTiling {
  Tiles tiles;
  FastDivisor chunk_divisor;
  std::int32_t channels;  // 0: location-major
  std::int64_t count;     // of shares

  // True if the 32-bit arithmetic of class-major tiles would overflow; location-major ones have 64.
  bool is_too_large() const {
    return channels != 0 && (count > kMaxDividend || tiles.rows() > kMaxDividend);
  }
  unsigned blocks() const { return blocks_of(count, kMaxFocalBlocks); }
};

template <class T>
FocalTiling focal_tiling(const FocalProblem& problem, bool location_major) {
  // Elements a thread takes of a tile: few for small problems, so that there are many blocks.
  constexpr std::int64_t kManyElements = 64, kFewElements = 16;
  constexpr std::int64_t kLargeProblem = std::int64_t{1} << 22;  // elements
  LevelView lines[kMaxLevels];                                   // of elements, for tiles of them
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < problem.num_levels; ++i) {
    lines[i].height = problem.logits[i].height * problem.logits[i].width;
    lines[i].width = problem.num_classes;
    rows += problem.batch * lines[i].height;
  }
  const std::int64_t elements =
      rows * problem.num_classes >= kLargeProblem ? kManyElements : kFewElements;
  if (location_major) {
    const Tiles tiles(lines, problem.num_levels, problem.batch, kFocalThreads * elements);
    return {tiles, divisor_of(1), 0, tiles.count()};
  }
  const Tiles tiles(problem.logits, problem.num_levels, problem.batch,
                    std::int64_t{kFocalThreads} * kVector<T>);
  const std::int64_t channels = elements / kVector<T>;
  const std::int64_t chunks = (problem.num_classes + channels - 1) / channels;
  const std::int64_t count = tiles.count() * chunks;
  return {tiles, divisor_of(chunks), static_cast<std::int32_t>(channels), count};
}

}  // namespace fcos_ops::cuda::focal
