// Centerness target and loss on a GPU. See include/fcos_ops/centerness.h for what they compute.
//
// A block takes a tile of 1024 neighbouring locations of a level, a thread every 256th of them, so
// that neighbouring threads read neighbouring memory. The loss reads all that a thread needs before
// it computes anything, whether or not the rows are selected: then it waits for memory once, where
// reading the selection first would wait twice. The sum of a block goes to the workspace, and a
// second kernel adds those; one block is its own sum.
#include "common/dtypes.h"
#include "cuda/common/block_sums.cuh"
#include "cuda/common/tiles.h"
#include "cuda/drivers.h"
#include "fcos_ops/centerness.h"
#include "math/centerness.h"
#include "math/cross_entropy.h"

namespace fcos_ops::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kPerThread = 4;
constexpr std::int64_t kTile = kPerThread * kThreads;

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

// Calls body(k, location) for those of a thread's locations that a tile has, k counting from 0.
template <class Body>
__device__ __forceinline__ void for_each_location(const Tile& tile, const Body& body) {
#pragma unroll
  for (int k = 0; k < kPerThread; ++k) {
    const std::int64_t location = tile.first + threadIdx.x + k * kThreads;
    if (location < tile.end) body(k, location);
  }
}

// The offsets of a thread's locations in a view: found once, before the dtype is asked.
struct Offsets {
  std::int64_t at[kPerThread];

  template <class View>
  __device__ __forceinline__ Offsets(const Tile& tile, const View& view) {
    for_each_location(tile, [&](int k, std::int64_t location) {
      at[k] = element_offset(view, tile.image, location);
    });
  }
};

template <class Real>
struct Rows {
  Real logit[kPerThread], target[kPerThread];
  bool is_selected[kPerThread];
};

template <class Real>
__device__ __forceinline__ void read_rows(const Tile& tile, const LevelView& view,
                                          const CenternessLossArgs& args, Rows<Real>& rows) {
  const Offsets offsets(tile, view);
  math::dispatch(math::HeldBy<Real>{}, args.dtype, [&](auto type) {
    for_each_location(tile, [&](int k, std::int64_t) {
      rows.logit[k] = math::to_real(type.array(view.data)[offsets.at[k]]);
    });
  });
  const std::int64_t first_row = tile.row - tile.first;
  for_each_location(tile, [&](int k, std::int64_t location) {
    rows.target[k] = static_cast<const Real*>(args.target)[first_row + location];
    rows.is_selected[k] = true;
  });
  if (args.selection == nullptr) return;
  math::dispatch(math::Selections{}, args.selection_dtype, [&](auto type) {
    for_each_location(tile, [&](int k, std::int64_t location) {
      rows.is_selected[k] = math::is_selected(type.array(args.selection)[first_row + location]);
    });
  });
}

// `args` is as the caller has it, but its views are in memory of the host.
template <class Real>
__global__ void __launch_bounds__(kThreads, 1)
    centerness_loss_kernel(Tiles tiles, Views<LevelView> logits, Views<MutableLevelView> gradients,
                           CenternessLossArgs args, BlockSums<Real> sums) {
  const Tile tile = tiles[blockIdx.x];
  Rows<Real> rows;
  read_rows(tile, logits.level[tile.level], args, rows);
  const double scale = math::normalized_scale<Real>(args.scale, args.normalizer);
  const auto factor = static_cast<Real>(scale);
  const auto upstream =
      args.gradient_scale ? *static_cast<const Real*>(args.gradient_scale) : Real(1);
  const auto grad_factor = static_cast<Real>(scale * upstream);
  Real sum = 0, gradient[kPerThread];
  for_each_location(tile, [&](int k, std::int64_t location) {
    math::LossAndGradient<Real> loss_and_grad = {0, 0};
    if (rows.is_selected[k]) {
      loss_and_grad = math::binary_cross_entropy(rows.logit[k], rows.target[k]);
      loss_and_grad = {factor * loss_and_grad.loss, grad_factor * loss_and_grad.gradient};
    }
    sum += loss_and_grad.loss;
    gradient[k] = loss_and_grad.gradient;
    if (args.losses) {
      static_cast<Real*>(args.losses)[tile.row - tile.first + location] = loss_and_grad.loss;
    }
  });
  if (args.gradient) {
    const MutableLevelView& view = gradients.level[tile.level];
    const Offsets offsets(tile, view);
    math::dispatch(math::HeldBy<Real>{}, args.gradient_dtype, [&](auto type) {
      using T = typename decltype(type)::type;
      for_each_location(tile, [&](int k, std::int64_t) {
        math::from_real(static_cast<math::Real<T>>(gradient[k]),
                        type.array(view.data)[offsets.at[k]]);
      });
    });
  }
  add_to_total<kThreads>(static_cast<double>(sum), sums);
}

}  // namespace

Status run(const CenternessTargetArgs& args, const Context& context) {
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

std::size_t workspace_size(const CenternessLossArgs& args, const Context&) {
  const Tiles tiles(args.logits, args.num_levels, args.batch, kTile);
  return BlockSumsWorkspace(nullptr, tiles.count()).size;
}

Status run(const CenternessLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    const Tiles tiles(args.logits, args.num_levels, args.batch, kTile);
    if (tiles.count() > kMaxBlocks) return too_large("centerness_loss: too many locations");
    return math::dispatch(math::Reals{}, args.dtype, [&](auto real) {
      using Real = typename decltype(real)::type;
      return launch_with_total<Real>("centerness_loss_kernel", "centerness_loss: finish_sum_kernel",
                                     centerness_loss_kernel<Real>, tiles.count(), kThreads, context,
                                     workspace, args.loss_sum, tiles,
                                     views_of(args.logits, args.num_levels),
                                     views_of(args.gradient, args.num_levels), args);
    });
  });
}

}  // namespace fcos_ops::cuda
