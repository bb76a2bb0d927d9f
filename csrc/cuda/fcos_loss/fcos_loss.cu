// The whole FCOS loss on a GPU. See include/fcos_ops/fcos_loss.h for what it computes.
//
// Two launches. The first, in this file, takes the losses of boxes and centerness: a block takes
// tiles of 256 locations, a thread two of each (see box_and_centerness.cuh). The second takes the
// class logits (see fcos_classes.cu), and its last block adds the sums of both: the first has set
// its counter to 0. Side by side in one launch they would share the registers of a thread, of which
// boxes take 69 and rows of plain class logits 48 (resources.csv, float32 on sm_90).
//
// This file is compiled without contraction and with IEEE division, but flushes subnormals: box
// targets are rounded as assign_targets rounds them (but for distances below 1.2e-38), and
// identical boxes cancel exactly.
#include <algorithm>

#include "cuda/common/block_reduce.cuh"
#include "cuda/drivers.h"
#include "cuda/fcos_loss/box_and_centerness.cuh"
#include "cuda/fcos_loss/fcos_classes.h"
#include "cuda/focal_loss/tiling.cuh"
#include "fcos_ops/fcos_loss.h"

namespace fcos_ops::cuda::fcos {
namespace {

constexpr std::int64_t kLocations = 2 * focal::kFocalThreads;  // of a tile; 128, 512: not measured
// Blocks for each multiprocessor, of a launch that usually has nothing to do.
constexpr std::int64_t kFewLocationBlocks = 1;

// Resident blocks per SM: the most that do not spill.
template <class Real>
inline constexpr unsigned kResidentBlocks = sizeof(Real) == 8 ? 4 : 7;

template <class Real>
__global__ void __launch_bounds__(focal::kFocalThreads, kResidentBlocks<Real>)
    fcos_loss_locations_kernel(Tiles tiles, LocationArguments<Real> args, LossSums* sums) {
  static_assert(sizeof(tiles) + sizeof(args) + sizeof(sums) <= 4096, "kernel arguments have 4 KB");
  if (sums != nullptr && blockIdx.x == 0 && threadIdx.x == 0) sums->arrivals = 0;
  if (args.only_unexpected && is_expected(args.scales, args.ltrb_gradient_scale) &&
      is_expected(args.scales, args.centerness_gradient_scale)) {
    return;
  }
  LocationSums sum;
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    LocationTile<Real>(args, tiles[i]).add_to(&sum);
  }
  if (sums == nullptr) return;
  sum.ltrb = block_sum<focal::kFocalThreads, 0>(sum.ltrb);
  sum.centerness = block_sum<focal::kFocalThreads, 1>(sum.centerness);
  if (threadIdx.x != 0) return;
  sums->locations[blockIdx.x][0] = sum.ltrb;
  sums->locations[blockIdx.x][1] = sum.centerness;
}

template <class Real>
LocationArguments<Real> location_arguments(const FcosLossArgs& args) {
  LocationArguments<Real> result = {args,
                                    {},
                                    args.ltrb_loss || args.ltrb_gradient,
                                    args.centerness_loss || args.centerness_gradient,
                                    static_cast<Real>(args.loss.eps),
                                    scale_arguments<Real>(args)};
  // Memory of the host, which kernels on fibers could read and those on a GPU could not.
  result.levels = nullptr;
  result.class_logits = result.ltrb = result.centerness = nullptr;
  result.class_gradient = result.ltrb_gradient = result.centerness_gradient = nullptr;
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    const AssignmentLevel& level = args.levels[i];
    result.level[i] = {level.width,
                       static_cast<double>(level.stride_x),
                       static_cast<double>(level.stride_y),
                       level.scale,
                       focal::level_array(args.ltrb, i),
                       focal::level_array(args.centerness, i),
                       focal::level_array(args.ltrb_gradient, i),
                       focal::level_array(args.centerness_gradient, i)};
  }
  return result;
}

// Starts the first launch and sets its number of blocks. Without `sums`, nobody asks for losses.
template <class Real>
Status run_locations(const FcosLossArgs& args, LossSums* sums, const Context& context,
                     unsigned* blocks) {
  const auto arguments = location_arguments<Real>(args);
  const bool wanted = arguments.wants_ltrb || arguments.wants_centerness;
  const Tiles tiles(args.class_logits, wanted ? args.num_levels : 0, args.batch, kLocations);
  *blocks = focal::blocks_of(tiles.count(), kMaxLocationBlocks);
  if (args.only_unexpected) {
    *blocks = focal::blocks_of(*blocks, kFewLocationBlocks * count_multiprocessors(context));
  }
  if (sums != nullptr) *blocks = std::max(*blocks, 1u);  // sets the counter
  return launch("fcos_loss_locations_kernel", fcos_loss_locations_kernel<Real>, *blocks,
                focal::kFocalThreads, context, tiles, arguments, sums);
}

}  // namespace
}  // namespace fcos_ops::cuda::fcos

namespace fcos_ops::cuda {

std::size_t workspace_size(const FcosLossArgs&, const Context&) { return sizeof(fcos::LossSums); }

Status run(const FcosLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    auto* const sums =
        fcos::wants_losses(args) ? static_cast<fcos::LossSums*>(workspace.data) : nullptr;
    unsigned blocks = 0;
    const Status status = args.class_dtype == DType::kFloat64
                              ? fcos::run_locations<double>(args, sums, context, &blocks)
                              : fcos::run_locations<float>(args, sums, context, &blocks);
    return status.ok() ? fcos::run_classes(args, blocks, sums, context) : status;
  });
}

}  // namespace fcos_ops::cuda
