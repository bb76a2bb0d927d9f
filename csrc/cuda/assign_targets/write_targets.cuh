// Writing the targets of a thread's cells: background to all, then those of the matched.
#pragma once

#include "cuda/assign_targets/competition.cuh"
#include "cuda/assign_targets/counts.cuh"
#include "math/centerness.h"
#include "math/labels.h"

namespace fcos_ops::cuda::assignment {

template <class Real>
struct alignas(16) AlignedSides {
  math::Sides<Real> sides;
};

// Stores a value for each cell of a thread, of which the first is at `location`.
template <class T>
__device__ __forceinline__ void fill_cells(const Cells& cells, std::uint32_t width,
                                           std::int64_t location, T value, T* to) {
  if (to == nullptr) return;
  to += location;
#pragma unroll
  for (std::uint32_t k = 0; k < kManyCells; ++k, to += width) {
    if (k < cells.count) *to = value;
  }
}

// Writes background to the cells of a thread, of which the first is at `location` of the outputs.
template <class Real>
__device__ __forceinline__ void write_background(const AssignTargetsArgs& args, const Cells& cells,
                                                 std::uint32_t width, std::int64_t location) {
  fill_cells(cells, width, location, std::int64_t{-1}, args.matched);
  fill_cells(cells, width, location, std::int32_t{-1}, args.matched_int32);
  fill_cells(cells, width, location, std::int64_t{math::kBackground}, args.location_labels);
  fill_cells(cells, width, location, Real(0), static_cast<Real*>(args.centerness));
  if (auto* const sides = static_cast<AlignedSides<Real>*>(args.ltrb); is_aligned(sides)) {
    fill_cells(cells, width, location, AlignedSides<Real>{}, sides);
  } else {
    fill_cells(cells, width, location, math::Sides<Real>{},
               static_cast<math::Sides<Real>*>(args.ltrb));
  }
}

// Writes the targets of the matched cells. Returns their counts.
template <class Real>
__device__ __forceinline__ Counts write_matches(const AssignTargetsArgs& args,
                                                const TiledLevel<Real>& level, const Cells& cells,
                                                std::int64_t location, std::uint32_t matched) {
  Counts counts = {};
  const Real x = math::location(cells.column, level.rule.offset, level.rule.stride_x);
  while (matched != 0) {
    const auto k = static_cast<std::uint32_t>(__ffs(static_cast<int>(matched)) - 1);
    matched &= matched - 1;
    const Match& match = block_shared<Matches>().cell[k][threadIdx.x];
    const Real y = math::location(cells.row + k, level.rule.offset, level.rule.stride_y);
    const auto sides = math::target_sides(x, y, load_box<Real>(args, match.box), level.unit, true);
    const Real centerness = math::centerness(sides.left, sides.top, sides.right, sides.bottom);
    const std::int64_t to = location + std::int64_t{k} * level.width;
    if (args.matched) args.matched[to] = match.box;
    if (args.matched_int32) args.matched_int32[to] = static_cast<std::int32_t>(match.box);
    if (args.location_labels) args.location_labels[to] = match.label;
    if (args.ltrb) {
      const Real four[4] = {sides.left, sides.top, sides.right, sides.bottom};
      store_four(four, static_cast<Real*>(args.ltrb) + 4 * to, 1);
    }
    if (args.centerness) static_cast<Real*>(args.centerness)[to] = centerness;
    counts.centerness += static_cast<double>(centerness);
    counts.positives += 1;
  }
  return counts;
}

}  // namespace fcos_ops::cuda::assignment
