// Target assignment on a GPU. See include/fcos_ops/assign_targets.h for what it computes.
//
// A block takes a tile of cells of one level of one image (tiling.h), a warp a rectangle of it, and
// a thread one or four cells below each other; neighbouring threads have neighbouring columns.
// First the block writes background everywhere: the memory takes that in while the threads wait
// for the boxes. They test the boxes of the image against the tile, one each, and compact the few
// that may match a cell there into shared memory, by rising index. A warp tests 32 of those at once
// against its rectangle, and its threads run over what is left: so the time grows with the cells
// that boxes cover. What a cell matched is kept in shared memory, and the targets of the few
// matched cells are written at last. A second kernel of one block adds the counts of the tiles, if
// asked for.
//
// Why by location: nothing is atomic, and any contents are overwritten: 36 bytes a location, 13 MB
// or 3 us on an H200 for 16 images of 22,400. By box, a launch must first fill 8-byte bids,
// atomicMin must pack cost and index (which a float64 cost does not leave room for), and a third
// launch must read all bids again: 6 MB and two launches more.
#include "common/workspace.h"
#include "cuda/assign_targets/counts.cuh"
#include "cuda/assign_targets/write_targets.cuh"
#include "cuda/common/last_block.cuh"
#include "cuda/drivers.h"

namespace fcos_ops::cuda::assignment {
namespace {

constexpr unsigned kCountThreads = 512;
// Resident blocks per SM: the most that do not spill.
template <class Real>
constexpr unsigned kResidentBlocks = sizeof(Real) == 8 ? 4 : 8;

// 1: the block that ends last adds the counts, and a memset before the launch zeroes the number of
// those that have ended; 0: a launch of one block adds them. By counting neither is the cheaper.
#if !defined(FCOS_OPS_AB_ASSIGN_LAST_BLOCK)
#define FCOS_OPS_AB_ASSIGN_LAST_BLOCK 0
#endif
constexpr bool kLastBlockCounts = FCOS_OPS_AB_ASSIGN_LAST_BLOCK != 0;

// The locations of a rectangle of cells.
template <class Real>
__device__ __forceinline__ Area<Real> area_of(const math::MatchLevel<Real>& rule, std::uint32_t top,
                                              std::uint32_t rows, std::uint32_t left,
                                              std::uint32_t columns) {
  return {{math::location(left, rule.offset, rule.stride_x),
           math::location(left + (columns - 1), rule.offset, rule.stride_x)},
          {math::location(top, rule.offset, rule.stride_y),
           math::location(top + (rows - 1), rule.offset, rule.stride_y)}};
}

// Block b takes tile b / batch of image b % batch. `args` is as the caller has it, but its levels
// are in memory of the host; `images` divides by batch. `arrivals`: as of is_last_block(), null
// where another launch adds the counts.
template <class Real>
__global__ void __launch_bounds__(kAssignThreads, kResidentBlocks<Real>)
    assign_targets_match_kernel(Pyramid<Real> pyramid, AssignTargetsArgs args, FastDivisor images,
                                Counts* partials, std::uint32_t* arrivals) {
  const std::uint32_t tile = images.quotient(blockIdx.x);
  const std::uint32_t image = blockIdx.x - tile * images.divisor();
  // Read before background is written, and not looked at until then: this takes longest.
  const std::int64_t offset = math::read_integer(args.offsets, args.offset_dtype, image);
  const std::int64_t next_offset = math::read_integer(args.offsets, args.offset_dtype, image + 1);

  // Unrolled, the comparisons do not wait for each other; but pyramids hardly ever have more than 8
  // levels, so every eighth level asks whether there is any use in the next.
  std::int32_t index = 0;
#pragma unroll
  for (std::int32_t i = 1; i < kMaxLevels; ++i) {
    if (i % 8 == 0 && tile < pyramid.first_tile[i]) break;
    index += tile >= pyramid.first_tile[i] ? 1 : 0;
  }
  const TiledLevel<Real>& level = pyramid.level[index];
  const std::uint32_t tile_of_level = tile - pyramid.first_tile[index];
  const std::uint32_t tile_y = level.tiles_x.quotient(tile_of_level);
  const std::uint32_t tile_x = tile_of_level - tile_y * level.tiles_x.divisor();
  const std::uint32_t columns = 1u << level.column_bits;
  const std::uint32_t rows = level.cells << (kThreadBits - level.column_bits);
  const std::uint32_t top = tile_y * rows, left = tile_x * columns;

  Cells cells = {top + (threadIdx.x >> level.column_bits) * level.cells,
                 left + (threadIdx.x & (columns - 1)), 0};
  if (cells.row < level.height && cells.column < level.width) {
    cells.count = math::min_of_numbers(level.cells, level.height - cells.row);
  }
  const std::int64_t location = image * pyramid.locations + level.first_location +
                                std::int64_t{cells.row} * level.width + cells.column;
  write_background<Real>(args, cells, level.width, location);

  const Area<Real> area = area_of(level.rule, top, rows, left, columns);
  Competition<Real> competition(level, cells);
  const std::int64_t end = math::clamp_offset(next_offset, 0, args.num_boxes);
  for (std::int64_t first = math::clamp_offset(offset, 0, args.num_boxes); first < end;
       first += kAssignThreads) {
    const std::int32_t count = find_candidates(args, level.rule, area, first, end);
    competition.add(count, first);
  }
  const std::uint32_t matched = competition.matched() & ((1u << cells.count) - 1);
  const Counts counts =
      block_sum_of_counts<kAssignThreads>(write_matches(args, level, cells, location, matched));
  if (threadIdx.x == 0) partials[image * pyramid.tiles + tile] = counts;
  if constexpr (kLastBlockCounts) {
    if (arrivals == nullptr || !is_last_block(arrivals, gridDim.x)) return;
    add_counts<Real, kAssignThreads>(partials, pyramid.tiles, args);
  }
}

// One block.
template <class Real>
__global__ void __launch_bounds__(kCountThreads)
    assign_targets_count_kernel(const Counts* partials, std::int64_t tiles,
                                AssignTargetsArgs args) {
  add_counts<Real, kCountThreads>(partials, tiles, args);
}

struct AssignWorkspace {
  AssignWorkspace(void* memory, const AssignTargetsArgs& args) {
    DeviceArena arrays(memory);
    partials = arrays.take<Counts>(most_tiles(args) * args.batch);
    if (kLastBlockCounts) arrivals = arrays.take<std::uint32_t>(1);
    size = arrays.size();
  }

  Counts* partials;
  std::uint32_t* arrivals = nullptr;
  std::size_t size;
};

template <class Real>
Status run_assign_targets(const AssignTargetsArgs& args, Workspace workspace,
                          const Context& context) {
  const auto pyramid =
      make_pyramid<Real>(args, choose_tiling(args, count_multiprocessors(context)));
  const std::int64_t blocks = pyramid.tiles * args.batch;
  if (blocks > kMaxBlocks) return too_large("assign_targets: too many locations");
  const AssignWorkspace memory(workspace.data, args);
  const bool wants_counts = args.num_pos || args.centerness_sum || args.counts || args.image_counts;
  auto* const arrivals = wants_counts && blocks > 0 ? memory.arrivals : nullptr;
  Status status;
  if (arrivals != nullptr) {
    status = fill_zero("assign_targets: arrivals", arrivals, sizeof(*arrivals), context);
  }
  if (status.ok() && blocks > 0) {
    status = launch("assign_targets_match_kernel", assign_targets_match_kernel<Real>,
                    static_cast<unsigned>(blocks), kAssignThreads, context, pyramid, args,
                    FastDivisor(static_cast<std::uint32_t>(args.batch)), memory.partials, arrivals);
  }
  if (!status.ok() || !wants_counts || arrivals != nullptr) return status;
  return launch("assign_targets_count_kernel", assign_targets_count_kernel<Real>, 1, kCountThreads,
                context, static_cast<const Counts*>(memory.partials), pyramid.tiles, args);
}

}  // namespace
}  // namespace fcos_ops::cuda::assignment

namespace fcos_ops::cuda {

std::size_t workspace_size(const AssignTargetsArgs& args, const Context&) {
  return assignment::AssignWorkspace(nullptr, args).size;
}

Status run(const AssignTargetsArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return args.box_dtype == DType::kFloat64
               ? assignment::run_assign_targets<double>(args, workspace, context)
               : assignment::run_assign_targets<float>(args, workspace, context);
  });
}

}  // namespace fcos_ops::cuda
