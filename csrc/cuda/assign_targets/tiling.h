// The tiles that the blocks of target assignment take: a level is cut into rectangles of cells.
#pragma once

#include <algorithm>
#include <cmath>

#include "cuda/common/fast_divisor.h"
#include "cuda/common/tiles.h"
#include "fcos_ops/assign_targets.h"
#include "math/match.h"

namespace fcos_ops::cuda::assignment {

// Chosen by counting blocks, waves and instructions, not measured; behind each, the alternatives.
//
// Threads of a block; a tile has as many cells, times those of a thread. 64, 128.
inline constexpr std::int32_t kAssignThreads = 128;
// Cells of a thread, below each other, of levels whose tiles would be too many with one cell a
// thread: then a box is tested against fewer tiles, but blocks that share the work are fewer, too.
// 2, 4.
inline constexpr std::int32_t kManyCells = 4;
// Blocks that a multiprocessor of a data-centre GPU runs at once, at 64 registers a thread. Levels
// have one cell a thread while all blocks are one wave: on 132 multiprocessors, up to 5 images of
// 22,400 locations (208 blocks each). For 16 images the three finest levels have kManyCells, and
// 1,008 blocks are one wave of 1,056. 0 (always kManyCells), 4, 8, 16.
inline constexpr std::int64_t kBlocksAtOnce = 8;

inline constexpr std::int32_t kWarpBits = 5, kThreadBits = kAssignThreads == 64 ? 6 : 7;
static_assert(1 << kThreadBits == kAssignThreads);

// A level in tiles of 2^column_bits columns, whose threads have `cells` each.
template <class Real>
struct TiledLevel {
  math::MatchLevel<Real> rule;  // its range is a closed one
  Real chebyshev_radius;        // as of math::match_axis
  Real unit;                    // of the distances that are written, in pixels
  std::uint32_t height, width, column_bits, cells;
  FastDivisor tiles_x{1};
  std::int64_t first_location;
};

// An image in tiles. They count from the last level on: a coarse level has the most boxes a cell,
// so the blocks that take longest start first.
template <class Real>
struct Pyramid {
  TiledLevel<Real> level[kMaxLevels];    // from the last to the first
  std::uint32_t first_tile[kMaxLevels];  // beyond all tiles where there is no level
  std::int64_t tiles, locations;
};

// The least b in [low, high] with 2^b >= size; high if there is none.
inline std::int32_t bits_to_hold(std::int64_t size, std::int32_t low, std::int32_t high) {
  std::int32_t bits = low;
  while (bits < high && (std::int64_t{1} << bits) < size) ++bits;
  return bits;
}

// The tiles of a level.
struct LevelTiles {
  std::int32_t column_bits;
  std::int64_t along_x, count;
};

// A row of a tile is as long as a warp, so that full lines are written; it is shorter where the
// level is narrower, and longer where the tile has more rows than the level.
inline LevelTiles cut_level(const AssignmentLevel& level, std::int32_t cells) {
  const std::int32_t cell_bits = bits_to_hold(cells, 0, kThreadBits);
  const std::int32_t narrow = bits_to_hold(level.width, 0, kWarpBits);
  const std::int32_t row_bits =
      bits_to_hold(level.height, cell_bits, cell_bits + kThreadBits - narrow);
  const std::int32_t column_bits =
      bits_to_hold(level.width, narrow, cell_bits + kThreadBits - row_bits);
  const std::int64_t rows = std::int64_t{cells} << (kThreadBits - column_bits);
  const std::int64_t along_x = ((level.width - 1) >> column_bits) + 1;
  return {column_bits, along_x, along_x * ((level.height + rows - 1) / rows)};
}

// Cells of a thread in each level, and the tiles of an image.
struct Tiling {
  std::int32_t cells[kMaxLevels];
  std::int64_t tiles;
};

// Gives kManyCells to the levels with the most tiles until all blocks run at once.
inline Tiling choose_tiling(const AssignTargetsArgs& args, std::int64_t multiprocessors) {
  Tiling tiling = {};
  std::int64_t count[kMaxLevels];
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    tiling.cells[i] = 1;
    count[i] = cut_level(args.levels[i], 1).count;
    tiling.tiles += count[i];
  }
  for (std::int32_t raised = 0; raised < args.num_levels; ++raised) {
    if (tiling.tiles * args.batch <= kBlocksAtOnce * multiprocessors) break;
    const std::int64_t i = std::max_element(count, count + args.num_levels) - count;
    tiling.cells[i] = kManyCells;
    tiling.tiles += cut_level(args.levels[i], kManyCells).count - count[i];
    count[i] = -1;
  }
  return tiling;
}

// The most tiles that an image is cut into, on whatever device.
inline std::int64_t most_tiles(const AssignTargetsArgs& args) {
  std::int64_t tiles = 0;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    tiles +=
        std::max(cut_level(args.levels[i], 1).count, cut_level(args.levels[i], kManyCells).count);
  }
  return tiles;
}

// The open range from lower to upper as a closed one.
template <class Real>
void close_range(math::MatchLevel<Real>* rule) {
  if (rule->inclusive) return;
  rule->lower = std::nextafter(rule->lower, math::kInfinity<Real>);
  rule->upper = std::nextafter(rule->upper, -math::kInfinity<Real>);
  rule->inclusive = true;
}

template <class Real>
Pyramid<Real> make_pyramid(const AssignTargetsArgs& args, const Tiling& tiling) {
  Pyramid<Real> pyramid = {};
  std::fill_n(pyramid.first_tile, kMaxLevels, ~std::uint32_t{0});
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    TiledLevel<Real>& tiled = pyramid.level[args.num_levels - 1 - i];
    tiled.first_location = pyramid.locations;
    pyramid.locations += args.levels[i].height * args.levels[i].width;
  }
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const std::int32_t from_first = args.num_levels - 1 - i;
    const AssignmentLevel& level = args.levels[from_first];
    const LevelTiles tiles = cut_level(level, tiling.cells[from_first]);
    TiledLevel<Real>& tiled = pyramid.level[i];
    tiled.rule = math::match_level<Real>(args.rule, level);
    close_range(&tiled.rule);
    tiled.chebyshev_radius = tiled.rule.chebyshev ? tiled.rule.radius : math::kNaN<Real>;
    tiled.unit = args.rule.normalize_ltrb ? static_cast<Real>(level.scale) : Real(1);
    tiled.height = static_cast<std::uint32_t>(level.height);
    tiled.width = static_cast<std::uint32_t>(level.width);
    tiled.column_bits = static_cast<std::uint32_t>(tiles.column_bits);
    tiled.cells = static_cast<std::uint32_t>(tiling.cells[from_first]);
    if (tiles.count > 0) tiled.tiles_x = FastDivisor(static_cast<std::uint32_t>(tiles.along_x));
    pyramid.first_tile[i] = static_cast<std::uint32_t>(pyramid.tiles);
    pyramid.tiles += tiles.count;
  }
  return pyramid;
}

}  // namespace fcos_ops::cuda::assignment
