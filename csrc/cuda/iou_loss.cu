// IoU losses of box pairs and their gradient on a GPU. See include/fcos_ops/iou_loss.h for what
// they compute.
//
// Few bytes and few pairs: what such a call takes is its launches, and the latency of memory once.
// Up to kFewRows boxes in one line go to iou_loss_few_kernel, one launch: one block computes all
// losses and adds them, while the others, a thread a pair, write the gradient; by their count of
// instructions (not measured) computing the losses twice takes half as long as a second launch.
// Other calls go to iou_loss_pairs_kernel, a thread a
// pair, a block a tile of neighbouring locations of a level, so that the boxes are on many
// multiprocessors; a second launch adds the sums of the blocks. Boxes whose numbers lie together
// are read and written in as few accesses as their address allows.
#include <algorithm>

#include "common/dtypes.h"
#include "cuda/common/block_sums.cuh"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "cuda/drivers.h"
#include "fcos_ops/iou_loss.h"
#include "math/iou.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 128;
// Blocks that have a sum each; beyond, a block takes several tiles.
constexpr std::int64_t kMaxPartials = 2048;

// The block that adds the losses of few rows: two pairs a thread, both on the way at once. By
// about 140 instructions a pair, not measured, 3,500 would take as long as the second launch.
constexpr unsigned kFewThreads = 1024;
constexpr std::int64_t kFewRows = 2 * kFewThreads;

// The part of IouLossArgs that the kernels take by value.
template <class Real>
struct IouArguments {
  DType pred_dtype, target_dtype, gradient_dtype;
  Real sign, eps, scale;
  const Real *weight, *gradient_scale;
  Normalizer normalizer;
  Real* losses;
  bool has_gradient;
};

template <class Real>
__device__ __forceinline__ void read_box(const LevelView& view, DType dtype, std::int64_t offset,
                                         Real (&box)[4]) {
  math::dispatch(math::HeldBy<Real>{}, dtype, [&](auto type) {
    load_four(type.array(view.data) + offset, view.stride_channel, box);
  });
}

template <class Real>
__device__ __forceinline__ void write_box(const Real (&box)[4], const MutableLevelView& view,
                                          DType dtype, std::int64_t offset) {
  math::dispatch(math::HeldBy<Real>{}, dtype, [&](auto type) {
    store_four(box, type.array(view.data) + offset, view.stride_channel);
  });
}

// What a pair's loss and gradient are multiplied by, but for its weight.
template <class Real>
struct Factors {
  Real loss, gradient;

  __device__ __forceinline__ explicit Factors(const IouArguments<Real>& args)
      : loss(static_cast<Real>(math::normalized_scale<Real>(args.scale, args.normalizer))),
        gradient(args.gradient_scale == nullptr ? Real(1) : *args.gradient_scale) {}
};

// The loss and gradient of a pair, with all their factors.
template <IouKind kKind, class Real>
__device__ __forceinline__ math::BoxLoss<Real> evaluate(const IouArguments<Real>& args,
                                                        const Factors<Real>& factors,
                                                        Real (&pred)[4], Real (&target)[4],
                                                        std::int64_t row) {
  for (int i = 0; i < 2; ++i) pred[i] *= args.sign, target[i] *= args.sign;
  auto loss_and_grad =
      math::iou_loss<kKind, BoxFormat::kXyxy>(pred, target, math::kCoordinateLimit<Real>, args.eps);
  for (int i = 0; i < 2; ++i) loss_and_grad.gradient[i] *= args.sign;
  const Real weighted = args.weight == nullptr ? factors.loss : factors.loss * args.weight[row];
  loss_and_grad.loss *= weighted;
  for (Real& gradient : loss_and_grad.gradient) gradient = weighted * factors.gradient * gradient;
  return loss_and_grad;
}

// Writes what is asked for of a pair, whose gradient is at `offset` of a view.
template <class Real>
__device__ __forceinline__ void write_pair(const math::BoxLoss<Real>& pair,
                                           const IouArguments<Real>& args, std::int64_t row,
                                           const MutableLevelView& view, std::int64_t offset) {
  if (args.losses != nullptr) args.losses[row] = pair.loss;
  if (args.has_gradient) write_box(pair.gradient, view, args.gradient_dtype, offset);
}

// The sum of the losses of all rows, in thread 0 of a block of kFewThreads.
template <IouKind kKind>
__device__ __forceinline__ double sum_losses(const LevelView& preds, const LevelView& targets,
                                             const IouArguments<float>& args) {
  float pred[4], target[4], next_pred[4], next_target[4];
  double sum = 0;
  // While a thread computes a pair, its next one is on the way.
  for (std::int64_t next = threadIdx.x; next < preds.width + kFewThreads; next += kFewThreads) {
    if (next < preds.width) {
      read_box(preds, args.pred_dtype, next * preds.stride_x, next_pred);
      read_box(targets, args.target_dtype, next * targets.stride_x, next_target);
    }
    if (next >= kFewThreads) {
      sum += evaluate<kKind>(args, Factors<float>(args), pred, target, next - kFewThreads).loss;
    }
    for (int i = 0; i < 4; ++i) pred[i] = next_pred[i], target[i] = next_target[i];
  }
  return block_sum<kFewThreads>(sum);
}

// Rows `stride_x` apart. Where a sum is asked for, the first block is the one that adds.
template <IouKind kKind>
__global__ void __launch_bounds__(kFewThreads, 1)
    iou_loss_few_kernel(LevelView preds, LevelView targets, MutableLevelView gradients,
                        IouArguments<float> args, float* loss_sum) {
  const unsigned adding = loss_sum == nullptr ? 0 : 1;
  if (blockIdx.x < adding) {
    const double sum = sum_losses<kKind>(preds, targets, args);
    if (threadIdx.x == 0) *loss_sum = static_cast<float>(sum);
    return;
  }
  const std::int64_t row = (blockIdx.x - adding) * kThreads + threadIdx.x;
  if (threadIdx.x >= kThreads || row >= preds.width) return;
  float pred[4], target[4];
  read_box(preds, args.pred_dtype, row * preds.stride_x, pred);
  read_box(targets, args.target_dtype, row * targets.stride_x, target);
  const auto pair = evaluate<kKind>(args, Factors<float>(args), pred, target, row);
  write_pair(pair, args, row, gradients, row * gradients.stride_x);
}

template <IouKind kKind, class Real>
__global__ void __launch_bounds__(kThreads, 1)
    iou_loss_pairs_kernel(Tiles tiles, Views<LevelView> preds, Views<LevelView> targets,
                          Views<MutableLevelView> gradients, IouArguments<Real> args,
                          BlockSums<Real> sums) {
  double sum = 0;
  for (std::int64_t index = blockIdx.x; index < tiles.count(); index += gridDim.x) {
    const Tile tile = tiles[index];
    const std::int64_t location = tile.first + threadIdx.x, row = tile.row + threadIdx.x;
    if (location >= tile.end) continue;
    const LevelView &pred_view = preds.level[tile.level], &target_view = targets.level[tile.level];
    const MutableLevelView& view = gradients.level[tile.level];
    Real pred[4], target[4];
    read_box(pred_view, args.pred_dtype, element_offset(pred_view, tile.image, location), pred);
    read_box(target_view, args.target_dtype, element_offset(target_view, tile.image, location),
             target);
    const auto pair = evaluate<kKind>(args, Factors<Real>(args), pred, target, row);
    sum += pair.loss;
    const std::int64_t offset = args.has_gradient ? element_offset(view, tile.image, location) : 0;
    write_pair(pair, args, row, view, offset);
  }
  add_to_total<kThreads>(sum, sums);
}

bool is_double(const IouLossArgs& args) {
  return args.pred_dtype == DType::kFloat64 || args.target_dtype == DType::kFloat64;
}

// Told by sizes and dtypes alone, as the size of the workspace is.
bool are_few(const IouLossArgs& args) {
  return !is_double(args) && args.num_levels == 1 && args.batch == 1 && args.pred[0].height == 1 &&
         args.pred[0].width <= kFewRows;
}

template <class Real>
IouArguments<Real> arguments_of(const IouLossArgs& args) {
  return {args.pred_dtype,
          args.target_dtype,
          args.gradient_dtype,
          args.box_format == BoxFormat::kLtrb ? Real(-1) : Real(1),
          static_cast<Real>(args.eps),
          static_cast<Real>(args.scale),
          static_cast<const Real*>(args.weight),
          static_cast<const Real*>(args.gradient_scale),
          args.normalizer,
          static_cast<Real*>(args.losses),
          args.gradient != nullptr};
}

template <IouKind kKind>
Status run_few(const IouLossArgs& args, const Context& context) {
  const bool writes = args.gradient != nullptr || args.losses != nullptr;
  const std::int64_t writing = writes ? (args.pred[0].width + kThreads - 1) / kThreads : 0;
  const std::int64_t adding = args.loss_sum == nullptr ? 0 : 1;
  return launch("iou_loss_few_kernel", iou_loss_few_kernel<kKind>,
                static_cast<unsigned>(adding + writing), kFewThreads, context, args.pred[0],
                args.target[0], args.gradient == nullptr ? MutableLevelView() : args.gradient[0],
                arguments_of<float>(args), static_cast<float*>(args.loss_sum));
}

template <IouKind kKind, class Real>
Status run_pairs(const IouLossArgs& args, Workspace workspace, const Context& context) {
  const Tiles tiles(args.pred, args.num_levels, args.batch, kThreads);
  return launch_with_total<Real>(
      "iou_loss_pairs_kernel", "iou_loss: finish_sum_kernel", iou_loss_pairs_kernel<kKind, Real>,
      std::min(tiles.count(), kMaxPartials), kThreads, context, workspace, args.loss_sum, tiles,
      views_of(args.pred, args.num_levels), views_of(args.target, args.num_levels),
      views_of(args.gradient, args.num_levels), arguments_of<Real>(args));
}

}  // namespace

std::size_t workspace_size(const IouLossArgs& args, const Context&) {
  if (are_few(args)) return 0;
  const std::int64_t tiles = Tiles(args.pred, args.num_levels, args.batch, kThreads).count();
  return BlockSumsWorkspace(nullptr, std::min(tiles, kMaxPartials)).size;
}

Status run(const IouLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return math::dispatch_kind(args.kind, [&](auto kind) {
      if (are_few(args)) return run_few<kind.value>(args, context);
      return is_double(args) ? run_pairs<kind.value, double>(args, workspace, context)
                             : run_pairs<kind.value, float>(args, workspace, context);
    });
  });
}

}  // namespace fcos_ops::cuda
