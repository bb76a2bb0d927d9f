// The boxes that greedy non-maximum suppression has kept so far, stored so that a candidate is only
// tested against those of its class that are near enough to overlap it.
//
// Each class has a grid of cells over the image; a kept box lies in the cell of its centre, and
// cells are chains of blocks of 8 boxes, which one vectorised loop tests at once. Which cells can
// matter is bounded as follows. IoU > t needs IoU > t along x alone, so for widths v, w
//   |distance of the centres| < (v + w) / 2 * (1 - t) / (1 + t)    and    v < w / t,
// and the same along y. The bound is exact mathematics, made safe against rounding by margins; the
// grid itself is a guess that decides the speed and never the result.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/workspace.h"
#include "math/suppress.h"

namespace fcos_ops::cpu::suppression {

inline constexpr std::int32_t kBlock = 8;

// Roughly the range of the centres of an image's boxes, and the size of the boxes.
template <class Real>
struct Extent {
  Real left = 0, top = 0, width = 0, height = 0;  // of the centres
  Real mean_width = 0, mean_height = 0;           // of the boxes
};

template <class Real>
class KeptBoxes {
  using Box = math::Box<Real>;
  using Limits = std::numeric_limits<Real>;

 public:
  // A class of n candidates has at most n cells, and a box that is kept begins at most one block.
  KeptBoxes(Real threshold, CacheLineArena& scratch, std::int64_t candidates, std::int64_t max_kept)
      : grids_(scratch.take<Grid>(candidates)),
        cells_(scratch.take<Cell>(candidates)),
        blocks_(scratch.take<Block>(max_kept)),
        threshold_(threshold) {
    // Below 0.1 the bound by ratios is nearly useless and its rounding hard to reason about.
    if (threshold >= Real(0.1)) set_bound(threshold * Real(1 - 0x1p-10));
  }

  // `sizes` holds how many candidates each class has.
  void lay_grids(const Extent<Real>& extent, const std::int32_t* sizes, std::int64_t num_classes) {
    left_ = extent.left;
    top_ = extent.top;
    std::int32_t num_cells = 0;
    for (std::int64_t c = 0; c < num_classes; ++c) {
      Grid& grid = grids_[c];
      const auto wanted = static_cast<Real>(sizes[c] / kBlock);
      grid.columns = divisions(extent.width, extent.mean_width, std::sqrt(wanted));
      grid.rows =
          divisions(extent.height, extent.mean_height, wanted / static_cast<Real>(grid.columns));
      grid.columns_per_pixel = static_cast<Real>(grid.columns) / extent.width;
      grid.rows_per_pixel = static_cast<Real>(grid.rows) / extent.height;
      grid.max_width = grid.max_height = 0;
      grid.first_cell = num_cells;
      num_cells += grid.columns * grid.rows;
    }
    std::fill(cells_, cells_ + num_cells, Cell{-1, 0});
  }

  // True if a kept box of the class overlaps this one. The box can overlap (math::can_overlap).
  FCOS_HD bool suppress(std::int32_t slot, const Box& box, Real area) {
    if (area < kTiny) set_bound(Real(0));
    const Grid& grid = grids_[slot];
    const Real x = center(box.x1, box.x2), y = center(box.y1, box.y2);
    const Real reach_x = reach(x, box.x2 - box.x1, grid.max_width);
    const Real reach_y = reach(y, box.y2 - box.y1, grid.max_height);
    const std::int32_t last_column = column(grid, x + reach_x), last_row = row(grid, y + reach_y);
    const std::int32_t first_column = column(grid, x - reach_x);
    for (std::int32_t r = row(grid, y - reach_y); r <= last_row; ++r) {
      const Cell* const cells = cells_ + grid.first_cell + r * grid.columns;
      for (std::int32_t c = first_column; c <= last_column; ++c) {
        for (std::int32_t b = cells[c].block; b >= 0; b = blocks_[b].next) {
          if (any_overlap(blocks_[b], box, area)) return true;
        }
      }
    }
    return false;
  }

  FCOS_HD void keep(std::int32_t slot, const Box& box, Real area) {
    Grid& grid = grids_[slot];
    const Real x = center(box.x1, box.x2), y = center(box.y1, box.y2);
    const Real width = box.x2 - box.x1, height = box.y2 - box.y1;
    grid.max_width = width > grid.max_width ? width : grid.max_width;
    grid.max_height = height > grid.max_height ? height : grid.max_height;
    Cell& cell = cells_[grid.first_cell + row(grid, y) * grid.columns + column(grid, x)];
    const std::int32_t lane = cell.count++ % kBlock;
    if (lane == 0) {
      clear(blocks_[num_blocks_], cell.block);
      cell.block = num_blocks_++;
    }
    Block& block = blocks_[cell.block];
    block.x1[lane] = box.x1;
    block.y1[lane] = box.y1;
    block.x2[lane] = box.x2;
    block.y2[lane] = box.y2;
    block.area[lane] = area;
  }

  static FCOS_HD Real center(Real low, Real high) { return Real(0.5) * low + Real(0.5) * high; }

 private:
  struct Grid {
    std::int32_t first_cell, columns, rows;
    Real columns_per_pixel, rows_per_pixel;
    Real max_width, max_height;  // of the kept boxes
  };
  struct Cell {
    std::int32_t block;  // the newest, -1 for none
    std::int32_t count;  // boxes in all blocks
  };
  struct Block {
    Real x1[kBlock], y1[kBlock], x2[kBlock], y2[kBlock], area[kBlock];
    std::int32_t next;  // older block, -1 for none
  };

  // Boxes of a smaller area lose so much of it to underflow that ratios mean nothing.
  static constexpr Real kTiny = Limits::min() / (Limits::epsilon() * Limits::epsilon());

  // Cells smaller than twice what most boxes reach would be visited in vain.
  std::int32_t divisions(Real length, Real mean, Real wanted) const {
    constexpr Real kMost = 1 << 20;  // float32 counts as far exactly
    const Real typical_reach = Real(2) * mean * shrink_;
    const Real fit = std::min(length / (Real(2) * typical_reach), wanted);
    return fit >= Real(1) ? static_cast<std::int32_t>(std::min(fit, kMost)) : 1;  // 1 for NaN
  }

  FCOS_HD void set_bound(Real t) {
    ratio_ = Real(1) / t;
    shrink_ = Real(0.5) * (Real(1) - t) / (Real(1) + t);
  }

  // The distance, along one axis, at which the centre of a kept box that overlaps this one can be.
  FCOS_HD Real reach(Real center, Real size, Real max_size) const {
    const Real other = size * ratio_ < max_size ? size * ratio_ : max_size;
    return (size + other) * shrink_ * Real(1 + 0x1p-10) +
           Real(4) * Limits::epsilon() * math::absolute(center) + Limits::min();
  }

  // Both are monotone, also when rounded: what lies between two positions lies between their cells.
  FCOS_HD std::int32_t column(const Grid& grid, Real x) const {
    return division((x - left_) * grid.columns_per_pixel, grid.columns);
  }
  FCOS_HD std::int32_t row(const Grid& grid, Real y) const {
    return division((y - top_) * grid.rows_per_pixel, grid.rows);
  }
  static FCOS_HD std::int32_t division(Real position, std::int32_t count) {
    const Real last = static_cast<Real>(count - 1);
    const Real low = position > Real(0) ? position : Real(0);  // also for NaN
    return static_cast<std::int32_t>(low < last ? low : last);
  }

  FCOS_HD bool any_overlap(const Block& block, const Box& box, Real area) const {
    std::int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (std::int32_t i = 0; i < kBlock; ++i) {
      const Box other = {block.x1[i], block.y1[i], block.x2[i], block.y2[i]};
      found |= math::overlap(other, block.area[i], box, area, threshold_);
    }
    return found != 0;
  }

  // Fills a block with boxes that overlap nothing.
  static FCOS_HD void clear(Block& block, std::int32_t next) {
    for (std::int32_t i = 0; i < kBlock; ++i) {
      block.x1[i] = block.y1[i] = Limits::infinity();
      block.x2[i] = block.y2[i] = -Limits::infinity();
      block.area[i] = 0;
    }
    block.next = next;
  }

  Grid* const grids_;
  Cell* const cells_;
  Block* const blocks_;
  const Real threshold_;
  Real ratio_ = Limits::infinity(), shrink_ = Real(0.5);  // see set_bound
  Real left_ = 0, top_ = 0;
  std::int32_t num_blocks_ = 0;
};

}  // namespace fcos_ops::cpu::suppression
