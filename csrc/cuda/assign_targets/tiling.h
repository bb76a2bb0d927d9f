// The tiles that the blocks of target assignment take: a level is cut into rectangles of cells.
#pragma once

#include "fcos_ops/assign_targets.h"
#include "math/match.h"

namespace fcos_ops::cuda::assignment {

inline constexpr std::int32_t kTileBits = 10;       // of the number of cells of a tile
inline constexpr std::int32_t kCellsPerThread = 4;  // cells of a thread, below each other

// A level in tiles of 2^column_bits columns and 2^(kTileBits - column_bits) rows.
template <class Real>
struct TiledLevel {
  math::MatchLevel<Real> rule;
  Real unit;  // of the distances that are written, in pixels
  std::int32_t height, width, column_bits;
  std::uint32_t tiles_x, first_tile;
  std::int64_t first_location;
};

template <class Real>
struct Pyramid {
  TiledLevel<Real> level[kMaxLevels];
  std::int32_t num_levels;
  std::int64_t tiles, locations;  // of an image; more than kMaxBlocks tiles are not launched
};

// The least b in [low, high] with 2^b >= size; high if there is none.
inline std::int32_t bits_to_hold(std::int64_t size, std::int32_t low, std::int32_t high) {
  std::int32_t bits = low;
  while (bits < high && (std::int64_t{1} << bits) < size) ++bits;
  return bits;
}

// Makes tiles as square as possible, but for levels that are narrower or flatter than that. A row
// of a tile is no longer than a block, so that the cells of a thread lie below each other.
inline std::int32_t choose_column_bits(std::int64_t height, std::int64_t width) {
  const std::int32_t narrow = bits_to_hold(width, 0, 5);
  const std::int32_t rows = bits_to_hold(height, 2, kTileBits - narrow);
  return kTileBits - rows;
}

inline std::int64_t tiles_along(std::int64_t size, std::int32_t bits) {
  return (size + (std::int64_t{1} << bits) - 1) >> bits;
}

template <class Real>
Pyramid<Real> make_pyramid(const AssignTargetsArgs& args) {
  Pyramid<Real> pyramid = {};
  pyramid.num_levels = args.num_levels;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = args.levels[i];
    TiledLevel<Real>& tiled = pyramid.level[i];
    tiled.rule = math::match_level<Real>(args, level);
    tiled.unit = args.normalize_ltrb ? static_cast<Real>(level.scale) : Real(1);
    tiled.height = static_cast<std::int32_t>(level.height);
    tiled.width = static_cast<std::int32_t>(level.width);
    tiled.column_bits = choose_column_bits(level.height, level.width);
    const std::int64_t tiles_x = tiles_along(level.width, tiled.column_bits);
    tiled.tiles_x = static_cast<std::uint32_t>(tiles_x);
    tiled.first_tile = static_cast<std::uint32_t>(pyramid.tiles);
    tiled.first_location = pyramid.locations;
    pyramid.tiles += tiles_x * tiles_along(level.height, kTileBits - tiled.column_bits);
    pyramid.locations += level.height * level.width;
  }
  return pyramid;
}

}  // namespace fcos_ops::cuda::assignment
