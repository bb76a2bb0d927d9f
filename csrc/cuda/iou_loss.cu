// IoU losses of box pairs and their gradient on a GPU. See include/fcos_ops/iou_loss.h for what
// they compute.
//
// A thread takes a pair at a time, a block a tile of neighbouring locations of a level. A box whose
// coordinates lie together, and are float32, is read and written at once where its address allows
// that. Few bytes and few pairs: what such a call takes is its two launches.
#include "common/dtypes.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/common/tiles.h"
#include "cuda/common/vectors.cuh"
#include "cuda/drivers.h"
#include "fcos_ops/iou_loss.h"
#include "math/iou.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 128;
constexpr std::int64_t kTile = kThreads;  // few pairs: spread them
// Blocks that have a sum each; beyond, a block takes several tiles.
constexpr std::int64_t kMaxPartials = 2048;

// The part of IouLossArgs that the kernel takes by value.
template <class Real>
struct IouArguments {
  DType pred_dtype, target_dtype, gradient_dtype;
  Real sign, eps, scale;
  const Real *weight, *gradient_scale;
  Normalizer normalizer;
  Real* losses;
  bool has_gradient;
};

// Only float32 boxes are read and written in one access: testing for other types as well would cost
// some kernels registers.
template <class Real>
__device__ __forceinline__ void read_box(const LevelView& view, DType dtype, std::int64_t offset,
                                         Real (&box)[4]) {
  if (dtype == DType::kFloat32) {
    load_four(static_cast<const float*>(view.data) + offset, view.stride_channel, box);
    return;
  }
  for (int i = 0; i < 4; ++i) {
    box[i] = math::read_real<Real>(view.data, dtype, offset + i * view.stride_channel);
  }
}

template <class Real>
__device__ __forceinline__ void write_box(const Real (&box)[4], const MutableLevelView& view,
                                          DType dtype, std::int64_t offset) {
  if (dtype == DType::kFloat32) {
    store_four(box, static_cast<float*>(view.data) + offset, view.stride_channel);
    return;
  }
  for (int i = 0; i < 4; ++i) {
    math::write_real(box[i], view.data, dtype, offset + i * view.stride_channel);
  }
}

template <IouKind kKind, class Real>
__global__ void __launch_bounds__(kThreads, 1)
    iou_loss_pairs_kernel(Tiles tiles, Views<LevelView> preds, Views<LevelView> targets,
                          Views<MutableLevelView> gradients, IouArguments<Real> args,
                          double* partials) {
  const auto factor = static_cast<Real>(math::normalized_scale<Real>(args.scale, args.normalizer));
  const Real upstream = args.gradient_scale == nullptr ? Real(1) : *args.gradient_scale;
  double sum = 0;
  for (std::int64_t index = blockIdx.x; index < tiles.count(); index += gridDim.x) {
    const Tile tile = tiles[index];
    const std::int64_t location = tile.first + threadIdx.x, row = tile.row + threadIdx.x;
    if (location >= tile.end) continue;
    const LevelView &pred_view = preds.level[tile.level], &target_view = targets.level[tile.level];
    Real pred[4], target[4];
    read_box(pred_view, args.pred_dtype, element_offset(pred_view, tile.image, location), pred);
    read_box(target_view, args.target_dtype, element_offset(target_view, tile.image, location),
             target);
    for (int i = 0; i < 2; ++i) pred[i] *= args.sign, target[i] *= args.sign;
    auto loss_and_grad = math::iou_loss<kKind, BoxFormat::kXyxy>(
        pred, target, math::kCoordinateLimit<Real>, args.eps);
    for (int i = 0; i < 2; ++i) loss_and_grad.gradient[i] *= args.sign;
    const Real weighted = args.weight == nullptr ? factor : factor * args.weight[row];
    const Real loss = weighted * loss_and_grad.loss;
    sum += loss;
    if (args.losses != nullptr) args.losses[row] = loss;
    if (args.has_gradient) {
      const MutableLevelView& view = gradients.level[tile.level];
      Real gradient[4];
      for (int i = 0; i < 4; ++i) gradient[i] = weighted * upstream * loss_and_grad.gradient[i];
      write_box(gradient, view, args.gradient_dtype, element_offset(view, tile.image, location));
    }
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

template <IouKind kKind, class Real>
Status run(const IouLossArgs& args, double* partials, const Context& context) {
  const Tiles tiles(args.pred, args.num_levels, args.batch, kTile);
  const IouArguments<Real> arguments = {args.pred_dtype,
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
  const std::int64_t blocks = tiles.count() < kMaxPartials ? tiles.count() : kMaxPartials;
  const Status status =
      launch("iou_loss_pairs_kernel", iou_loss_pairs_kernel<kKind, Real>,
             static_cast<unsigned>(blocks), kThreads, context, tiles,
             views_of(args.pred, args.num_levels), views_of(args.target, args.num_levels),
             views_of(args.gradient, args.num_levels), arguments, partials);
  if (!status.ok() || args.loss_sum == nullptr) return status;
  return launch("iou_loss: finish_sum_kernel", finish_sum_kernel<Real>, 1, kFinishThreads, context,
                static_cast<const double*>(partials), blocks, static_cast<Real*>(args.loss_sum));
}

}  // namespace

std::size_t iou_loss_workspace_size(const IouLossArgs& args, const Context&) {
  const std::int64_t tiles = Tiles(args.pred, args.num_levels, args.batch, kTile).count();
  return static_cast<std::size_t>(tiles < kMaxPartials ? tiles : kMaxPartials) * sizeof(double);
}

Status iou_loss(const IouLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    auto* const partials = static_cast<double*>(workspace.data);
    const bool is_double =
        args.pred_dtype == DType::kFloat64 || args.target_dtype == DType::kFloat64;
    return math::dispatch_kind(args.kind, [&](auto kind) {
      return is_double ? run<kind.value, double>(args, partials, context)
                       : run<kind.value, float>(args, partials, context);
    });
  });
}

}  // namespace fcos_ops::cuda
