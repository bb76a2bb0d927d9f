// How the blocks of a launch share the logits of all levels and images.
#pragma once

#include <algorithm>

#include "cuda/focal_loss/elements.cuh"

namespace fcos_ops::cuda::focal {

// Blocks that have a sum each; beyond, a block takes several tiles. Several times what an H200
// can run at once, and few enough to add up in no time.
inline constexpr std::int64_t kMaxFocalBlocks = 4096;

// Whether the classes of all locations of a level of an image form one line.
template <class View>
bool has_rows(const View& view, std::int64_t num_classes) {
  return (num_classes == 1 || view.stride_channel == 1) &&
         (view.width == 1 || view.stride_x == num_classes) &&
         (view.height == 1 || view.stride_y == view.width * num_classes);
}

// Whether the locations of each class do.
template <class View>
bool has_planes(const View& view) {
  return (view.width == 1 || view.stride_x == 1) &&
         (view.height == 1 || view.stride_y == view.width);
}

// Whether blocks take rows: where every array has them, but rows shorter than a vector only where
// planes are no alternative. `all_arrays(level, test)` says whether `test` holds for a level of
// every array.
template <class T, class AllArrays>
bool takes_rows(std::int32_t num_levels, std::int64_t num_classes, const AllArrays& all_arrays) {
  bool have_rows = true, have_planes = true;
  for (std::int32_t i = 0; i < num_levels; ++i) {
    const auto is_rows = [&](const auto& view) { return has_rows(view, num_classes); };
    const auto is_planes = [](const auto& view) { return has_planes(view); };
    have_rows = have_rows && all_arrays(i, is_rows);
    have_planes = have_planes && all_arrays(i, is_planes);
  }
  return have_rows && !(have_planes && num_classes < kVector<T>);
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

inline Divisor divisor_of(std::int64_t number) {
  return Divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(number, 1)));
}

// A block a tile, but not more than there is room for sums.
inline unsigned blocks_of(std::int64_t tiles, std::int64_t most) {
  return static_cast<unsigned>(std::min(tiles, most));
}

// Tile i is chunk i % chunks of piece i / chunks. Pieces of rows are runs of elements, in one
// chunk; else they are runs of locations, and chunks are `channels` classes each.
struct FocalTiling {
  Tiles pieces;
  Divisor by_chunks;
  std::int32_t channels;  // 0: of rows
  std::int64_t count;     // of tiles

  // Whether the 32-bit arithmetic of kernels will do: that of rows always does.
  bool is_too_large() const {
    return channels != 0 && (count > kMaxDividend || pieces.rows() > kMaxDividend);
  }
  unsigned blocks() const { return blocks_of(count, kMaxFocalBlocks); }
};

// `vector` elements are in 16 bytes; `are_rows`: every array has rows.
inline FocalTiling focal_tiling(const LevelView* logits, std::int32_t num_levels,
                                std::int64_t batch, std::int64_t num_classes, std::int32_t vector,
                                bool are_rows) {
  // Elements a thread takes of a tile: few for small problems, so that there are many blocks.
  constexpr std::int64_t kManyElements = 64, kFewElements = 16;
  constexpr std::int64_t kLargeProblem = std::int64_t{1} << 22;  // elements
  LevelView lines[kMaxLevels];                                   // of elements, for tiles of them
  std::int64_t rows = 0;
  for (std::int32_t i = 0; i < num_levels; ++i) {
    lines[i].height = logits[i].height * logits[i].width;
    lines[i].width = num_classes;
    rows += batch * lines[i].height;
  }
  const std::int64_t elements = rows * num_classes >= kLargeProblem ? kManyElements : kFewElements;
  if (are_rows) {
    const Tiles pieces(lines, num_levels, batch, kFocalThreads * elements);
    return {pieces, divisor_of(1), 0, pieces.count()};
  }
  const Tiles pieces(logits, num_levels, batch, std::int64_t{kFocalThreads} * vector);
  const std::int64_t channels = elements / vector, chunks = (num_classes + channels - 1) / channels;
  const std::int64_t count = pieces.count() * chunks;
  return {pieces, divisor_of(chunks), static_cast<std::int32_t>(channels), count};
}

}  // namespace fcos_ops::cuda::focal
