// Centerness target and loss on a GPU. See include/fcos_ops/centerness.h for what they compute.
//
// A block takes a tile of 1024 neighbouring locations of a level, a thread every 256th of them, so
// that neighbouring threads read neighbouring memory. The few bytes a location are read once and
// written once; the loss's sum of a block goes to the workspace, and a second kernel adds those.
#include "common/dtypes.h"
#include "cuda/common/block_reduce.cuh"
#include "cuda/common/tiles.h"
#include "cuda/drivers.h"
#include "fcos_ops/centerness.h"
#include "math/centerness.h"
#include "math/cross_entropy.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kTile = 1024;

template <class Real>
__global__ void __launch_bounds__(kThreads, 1)
    centerness_target_kernel(Tiles tiles, Views<LevelView> ltrb, DType dtype, Real* target) {
  const Tile tile = tiles[blockIdx.x];
  const LevelView& view = ltrb.level[tile.level];
  for (std::int64_t i = tile.first + threadIdx.x; i < tile.end; i += kThreads) {
    const std::int64_t left = element_offset(view, tile.image, i), step = view.stride_channel;
    target[tile.row + (i - tile.first)] =
        math::centerness(math::read_real<Real>(view.data, dtype, left),
                         math::read_real<Real>(view.data, dtype, left + step),
                         math::read_real<Real>(view.data, dtype, left + 2 * step),
                         math::read_real<Real>(view.data, dtype, left + 3 * step));
  }
}

__device__ __forceinline__ bool row_is_selected(const CenternessLossArgs& args, std::int64_t row) {
  if (args.selection == nullptr) return true;
  return math::dispatch(math::Selections{}, args.selection_dtype, [&](auto type) {
    return math::is_selected(type.array(args.selection)[row]);
  });
}

// `args` is as the caller has it, but its views are in memory of the host.
template <class Real>
__global__ void __launch_bounds__(kThreads, 1)
    centerness_loss_kernel(Tiles tiles, Views<LevelView> logits, Views<MutableLevelView> gradient,
                           CenternessLossArgs args, double* partials) {
  const Tile tile = tiles[blockIdx.x];
  const LevelView& view = logits.level[tile.level];
  const MutableLevelView& gradient_view = gradient.level[tile.level];
  const double scale = math::normalized_scale<Real>(args.scale, args.normalizer);
  const auto factor = static_cast<Real>(scale);
  const auto upstream =
      args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1);
  const auto grad_factor = static_cast<Real>(scale * upstream);
  Real sum = 0;
  for (std::int64_t i = tile.first + threadIdx.x; i < tile.end; i += kThreads) {
    const std::int64_t row = tile.row + (i - tile.first);
    math::LossAndGradient<Real> loss_and_grad = {0, 0};
    if (row_is_selected(args, row)) {
      const auto logit =
          math::read_real<Real>(view.data, args.dtype, element_offset(view, tile.image, i));
      loss_and_grad = math::binary_cross_entropy(logit, static_cast<const Real*>(args.target)[row]);
      loss_and_grad = {factor * loss_and_grad.loss, grad_factor * loss_and_grad.gradient};
    }
    sum += loss_and_grad.loss;
    if (args.losses) static_cast<Real*>(args.losses)[row] = loss_and_grad.loss;
    if (args.gradient) {
      math::write_real(loss_and_grad.gradient, gradient_view.data, args.gradient_dtype,
                       element_offset(gradient_view, tile.image, i));
    }
  }
  const double total = block_sum<kThreads>(static_cast<double>(sum));
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

}  // namespace

Status centerness_target(const CenternessTargetArgs& args, const Context& context) {
  return on_device(context, [&]() -> Status {
    const Tiles tiles(args.ltrb, args.num_levels, args.batch, kTile);
    if (tiles.count() > kMaxBlocks) return too_large("centerness_target: too many locations");
    return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
      using Real = typename decltype(real)::type;
      return launch("centerness_target_kernel", centerness_target_kernel<Real>,
                    static_cast<unsigned>(tiles.count()), kThreads, context, tiles,
                    views_of(args.ltrb, args.num_levels), args.dtype,
                    static_cast<Real*>(args.target));
    });
  });
}

std::size_t centerness_loss_workspace_size(const CenternessLossArgs& args, const Context&) {
  const Tiles tiles(args.logits, args.num_levels, args.batch, kTile);
  return static_cast<std::size_t>(tiles.count()) * sizeof(double);
}

Status centerness_loss(const CenternessLossArgs& args, Workspace workspace,
                       const Context& context) {
  return on_device(context, [&]() -> Status {
    const Tiles tiles(args.logits, args.num_levels, args.batch, kTile);
    if (tiles.count() > kMaxBlocks) return too_large("centerness_loss: too many locations");
    auto* const partials = static_cast<double*>(workspace.data);
    return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
      using Real = typename decltype(real)::type;
      const Status status = launch("centerness_loss_kernel", centerness_loss_kernel<Real>,
                                   static_cast<unsigned>(tiles.count()), kThreads, context, tiles,
                                   views_of(args.logits, args.num_levels),
                                   views_of(args.gradient, args.num_levels), args, partials);
      if (!status.ok() || args.loss_sum == nullptr) return status;
      return launch("centerness_loss: finish_sum_kernel", finish_sum_kernel<Real>, 1,
                    kFinishThreads, context, static_cast<const double*>(partials), tiles.count(),
                    static_cast<Real*>(args.loss_sum));
    });
  });
}

}  // namespace fcos_ops::cuda
