// Target assignment on a GPU. See include/fcos_ops/assign_targets.h for what it computes.
//
// A block takes a tile of 1024 cells of one level of one image, 32 x 32 where the level is that
// large. Its threads first test the boxes of the image against the tile, one each, and compact the
// few that may match a cell there into shared memory, by rising index. Then a thread runs over that
// list for its 4 cells, which lie below each other, and writes their targets; neighbouring threads
// have neighbouring columns. A second kernel of one block adds the counts of the tiles, if asked
// for.
//
// Why by location: everything is written once, in full lines, from any contents, and nothing is
// atomic: 36 bytes a location, 13 MB or 3 us on an H200 for 16 images of 22,400. By box, a launch
// must first fill 8-byte bids, atomicMin must pack cost and index (which a float64 cost does not
// leave room for), and a third launch must read all bids again: 6 MB and two launches more, to save
// the tests of boxes against tiles: at 200 boxes an image, about 60 instructions a location.
#include <algorithm>

#include "common/dtypes.h"
#include "cuda/assign_targets/candidate_boxes.cuh"
#include "cuda/assign_targets/tiling.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/common/tiles.h"
#include "cuda/drivers.h"
#include "fcos_ops/assign_targets.h"
#include "math/centerness.h"
#include "math/labels.h"
#include "math/match.h"

namespace fcos_ops::cuda::assignment {
namespace {

constexpr unsigned kThreads = kAssignThreads;
constexpr std::int32_t kCells = kCellsPerThread;
constexpr std::int64_t kMaxImages = 65535;  // along an axis of the grid
static_assert(kThreads * kCells == 1u << kTileBits);

struct Counts {
  double centerness;
  std::int64_t positives;
};

// The cells of a thread: (row + k, column) for k < kCells. Some may lie outside the level.
template <class Real>
struct Cells {
  std::int32_t row, column;
  std::int64_t best[kCells];  // box, -1: none
  Real best_cost[kCells];
};

// Lets the listed candidates compete for the cells. `first` is the box that index 0 stands for.
template <class Real>
__device__ __forceinline__ void match(const math::MatchLevel<Real>& rule, std::int32_t count,
                                      std::int64_t first, Cells<Real>* cells) {
  const auto& candidates = block_shared<BoxCandidates<Real>>();
  const Real x = math::location(cells->column, rule.offset, rule.stride_x);
  std::int32_t best_candidate[kCells] = {-1, -1, -1, -1};
  for (std::int32_t i = 0; i < count; ++i) {
    const BoxCandidate<Real>& candidate = candidates.list[i];
    // True for most: a warp has 4 rows where the tile has 32.
    if ((candidate.rows.end <= cells->row) | (candidate.rows.first - cells->row >= kCells))
      continue;
    for (std::int32_t k = 0; k < kCells; ++k) {
      // An equal cost does not win: the lower index came first.
      const Real y = math::location(cells->row + k, rule.offset, rule.stride_y);
      const bool better =
          math::matches(x, y, candidate.box, rule) & (candidate.cost < cells->best_cost[k]);
      cells->best_cost[k] = better ? candidate.cost : cells->best_cost[k];
      best_candidate[k] = better ? i : best_candidate[k];
    }
  }
  for (std::int32_t k = 0; k < kCells; ++k) {
    if (best_candidate[k] >= 0) cells->best[k] = first + candidates.list[best_candidate[k]].index;
  }
}

template <class Real>
struct alignas(16) AlignedSides {
  math::Sides<Real> sides;
};

template <class Real>
__device__ __forceinline__ void store_sides(const math::Sides<Real>& sides, void* ltrb,
                                            std::int64_t location) {
  auto* const to = static_cast<Real*>(ltrb) + 4 * location;
  if (reinterpret_cast<std::uintptr_t>(ltrb) % alignof(AlignedSides<Real>) == 0) {
    *reinterpret_cast<AlignedSides<Real>*>(to) = {sides};
  } else {
    to[0] = sides.left;
    to[1] = sides.top;
    to[2] = sides.right;
    to[3] = sides.bottom;
  }
}

// Writes those targets of a location at (x, y) that are wanted; its match is `box`, -1: none.
// Returns its centerness.
template <class Real>
__device__ __forceinline__ Real write_targets(const AssignTargetsArgs& args, std::int64_t location,
                                              std::int64_t box, Real x, Real y, Real unit) {
  math::Sides<Real> sides = {0, 0, 0, 0};
  Real centerness = 0;
  if (box >= 0) {
    sides = math::target_sides(x, y, load_box<Real>(args, box), unit, true);
    centerness = math::centerness(sides.left, sides.top, sides.right, sides.bottom);
  }
  if (args.matched) args.matched[location] = box;
  if (args.matched_int32) args.matched_int32[location] = static_cast<std::int32_t>(box);
  if (args.location_labels) {
    args.location_labels[location] =
        box < 0 ? math::kBackground : math::read_integer(args.labels, args.label_dtype, box);
  }
  if (args.ltrb) store_sides(sides, args.ltrb, location);
  if (args.centerness) static_cast<Real*>(args.centerness)[location] = centerness;
  return centerness;
}

// Writes the targets of a thread's cells. Returns their counts.
template <class Real>
__device__ __forceinline__ Counts write_cells(const AssignTargetsArgs& args,
                                              const TiledLevel<Real>& level,
                                              std::int64_t first_location, Cells<Real> cells) {
  Counts counts = {};
  if (cells.column >= level.width) return counts;
  const Real x = math::location(cells.column, level.rule.offset, level.rule.stride_x);
  const std::int32_t end = math::min_or_second(cells.row, level.height - kCells) + kCells;
  std::int64_t location = first_location + std::int64_t{cells.row} * level.width + cells.column;
  // A loop that is not unrolled, as all of this runs once: fetching its code would take longer.
  for (std::int32_t row = cells.row; row < end; ++row, location += level.width) {
    const std::int64_t box = cells.best[0];
    for (std::int32_t k = 1; k < kCells; ++k) cells.best[k - 1] = cells.best[k];
    const Real y = math::location(row, level.rule.offset, level.rule.stride_y);
    const Real centerness = write_targets(args, location, box, x, y, level.unit);
    if (box >= 0) {
      counts.centerness += static_cast<double>(centerness);
      counts.positives += 1;
    }
  }
  return counts;
}

// Block (x, y, z) takes tile x of image y + z * gridDim.y. `args` is as the caller has it, but its
// levels are in memory of the host.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    assign_targets_match_kernel(Pyramid<Real> pyramid, AssignTargetsArgs args, Counts* partials) {
  const std::int64_t image = std::int64_t{blockIdx.z} * gridDim.y + blockIdx.y;
  if (image >= args.batch) return;
  const std::uint32_t tile = blockIdx.x;
  std::int32_t index = 0;
  while (index + 1 < pyramid.num_levels && tile >= pyramid.level[index + 1].first_tile) ++index;
  const TiledLevel<Real>& level = pyramid.level[index];
  const std::uint32_t tile_of_level = tile - level.first_tile;
  const std::int32_t columns = 1 << level.column_bits, rows = 1 << (kTileBits - level.column_bits);
  const auto top = static_cast<std::int32_t>(tile_of_level / level.tiles_x) * rows;
  const auto left = static_cast<std::int32_t>(tile_of_level % level.tiles_x) * columns;
  const math::CellRectangle cells_of_tile = {
      {top, top + math::min_or_second(rows, level.height - top)},
      {left, left + math::min_or_second(columns, level.width - left)}};

  const auto thread = static_cast<std::int32_t>(threadIdx.x);
  Cells<Real> cells;
  cells.row = top + (thread >> level.column_bits) * kCells;
  cells.column = left + (thread & (columns - 1));
  for (std::int32_t k = 0; k < kCells; ++k) {
    cells.best[k] = -1;
    cells.best_cost[k] = math::kInfinity<Real>;
  }
  const std::int64_t end = box_offset(args, image + 1);
  for (std::int64_t first = box_offset(args, image); first < end; first += kThreads) {
    const std::int32_t count = find_candidates(args, level.rule, cells_of_tile, first, end);
    match(level.rule, count, first, &cells);
  }
  const std::int64_t first_location = image * pyramid.locations + level.first_location;
  const Counts counts = write_cells(args, level, first_location, cells);
  const auto positives = block_sum<kThreads>(static_cast<std::int32_t>(counts.positives));
  const double centerness = block_sum<kThreads>(counts.centerness);
  if (threadIdx.x == 0) partials[image * pyramid.tiles + tile] = {centerness, positives};
}

template <class Real>
__device__ __forceinline__ void write_pair(const Counts& counts, void* numbers,
                                           std::int64_t index) {
  if (numbers == nullptr) return;
  static_cast<Real*>(numbers)[2 * index] = static_cast<Real>(counts.positives);
  static_cast<Real*>(numbers)[2 * index + 1] = static_cast<Real>(counts.centerness);
}

// Adds the counts of all tiles, a warp those of an image after another. One block of
// kFinishThreads. In float64 the order hardly ever matters: sums of float32 numbers are exact as
// long as the least of them is not far below the sum.
template <class Real>
__global__ void __launch_bounds__(kFinishThreads)
    assign_targets_count_kernel(const Counts* partials, std::int64_t tiles,
                                AssignTargetsArgs args) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Counts total = {};
  for (std::int64_t image = warp; image < args.batch; image += kFinishThreads / kWarp) {
    Counts counts = {};
    for (std::int64_t i = lane; i < tiles; i += kWarp) {
      counts.positives += partials[image * tiles + i].positives;
      counts.centerness += partials[image * tiles + i].centerness;
    }
    counts.positives = warp_sum(counts.positives);
    counts.centerness = warp_sum(counts.centerness);
    if (lane != 0) continue;
    write_pair<Real>(counts, args.image_counts, image);
    total.positives += counts.positives;
    total.centerness += counts.centerness;
  }
  total.positives = block_sum<kFinishThreads>(total.positives);
  total.centerness = block_sum<kFinishThreads>(total.centerness);
  if (threadIdx.x != 0) return;
  write_pair<Real>(total, args.counts, 0);
  if (args.num_pos) *args.num_pos = total.positives;
  if (args.centerness_sum) {
    *static_cast<Real*>(args.centerness_sum) = static_cast<Real>(total.centerness);
  }
}

template <class Real>
Status run_assign_targets(const AssignTargetsArgs& args, Workspace workspace,
                          const Context& context) {
  const auto pyramid = make_pyramid<Real>(args);
  const std::int64_t tiles = pyramid.tiles * args.batch;
  if (tiles > kMaxBlocks) return too_large("assign_targets: too many locations");
  auto* const partials = static_cast<Counts*>(workspace.data);
  const std::int64_t images_y = std::min(args.batch, kMaxImages);
  const dim3 grid(static_cast<unsigned>(pyramid.tiles), static_cast<unsigned>(images_y),
                  static_cast<unsigned>((args.batch + kMaxImages - 1) / kMaxImages));
  const Status status = launch("assign_targets_match_kernel", assign_targets_match_kernel<Real>,
                               grid, kThreads, context, pyramid, args, partials);
  const bool wants_counts = args.num_pos || args.centerness_sum || args.counts || args.image_counts;
  if (!status.ok() || !wants_counts) return status;
  return launch("assign_targets_count_kernel", assign_targets_count_kernel<Real>, 1, kFinishThreads,
                context, static_cast<const Counts*>(partials), pyramid.tiles, args);
}

}  // namespace
}  // namespace fcos_ops::cuda::assignment

namespace fcos_ops::cuda {

std::size_t assign_targets_workspace_size(const AssignTargetsArgs& args, const Context&) {
  return static_cast<std::size_t>(assignment::make_pyramid<float>(args).tiles * args.batch) *
         sizeof(assignment::Counts);
}

Status assign_targets(const AssignTargetsArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return args.box_dtype == DType::kFloat64
               ? assignment::run_assign_targets<double>(args, workspace, context)
               : assignment::run_assign_targets<float>(args, workspace, context);
  });
}

}  // namespace fcos_ops::cuda
