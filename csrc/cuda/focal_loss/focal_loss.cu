// Sigmoid focal loss and its gradient on a GPU. See include/fcos_ops/focal_loss.h for what they
// compute.
//
// One launch takes all levels and images, in one of four ways. Plain logits (labels, gamma 2, no
// weights, a gradient or none) take the kernels of plain_rows.cuh or plain_planes.cuh, which say
// what a thread and a block do. Everything else takes the general ones: where the classes of
// neighbouring locations form one line (location-major), a block takes a tile of that line; else
// (class-major: NCHW, or any strides) it takes a tile of locations and a chunk of channels. A
// thread takes 16 bytes of logits at a time and has the next 16 on their way meanwhile. A second
// kernel adds the sums of the blocks.
//
// Logits are read once and gradients written once: 4 bytes a logit of bfloat16. In the time that
// takes, the schedulers of an H200 start about 25 instructions a logit, so instructions are what
// counts.
#include "cuda/common/block_reduce.cuh"
#include "cuda/common/last_block.cuh"
#include "cuda/drivers.h"
#include "cuda/focal_loss/class_major.cuh"
#include "cuda/focal_loss/location_major.cuh"
#include "cuda/focal_loss/plain_planes.cuh"
#include "cuda/focal_loss/plain_rows.cuh"
#include "cuda/focal_loss/plain_tiling.cuh"
#include "cuda/focal_loss/tiling.cuh"

namespace fcos_ops::cuda::focal {
namespace {

template <bool kDense>
inline constexpr Labels kLabels = kDense ? Labels::kDense : Labels::kPerRow;

// 1: the last block adds the sums of the blocks, which saves a launch and costs a memset in front;
// not measured.
#if !defined(FCOS_OPS_AB_FOCAL_LAST_BLOCK)
#define FCOS_OPS_AB_FOCAL_LAST_BLOCK 0
#endif
constexpr bool kLastBlockAdds = FCOS_OPS_AB_FOCAL_LAST_BLOCK != 0;

template <class Real>
struct Sums {
  double* partials;         // [kMaxFocalBlocks]
  std::uint32_t* arrivals;  // see is_last_block()
  Real* loss;               // null where nobody asks
};

// Writes the sum over the block; the last block, if it adds them, that over the grid, too.
template <unsigned kThreads, class Real>
__device__ __forceinline__ void write_sum(double sum, const Sums<Real>& sums) {
  const Real total = block_sum<kThreads>(static_cast<Real>(sum));
  if (threadIdx.x == 0) sums.partials[blockIdx.x] = total;
  if constexpr (kLastBlockAdds) {
    if (sums.loss == nullptr || !is_last_block(sums.arrivals, gridDim.x)) return;
    const double loss = sum_of_partials<kThreads, 1>(sums.partials, gridDim.x);
    if (threadIdx.x == 0) *sums.loss = static_cast<Real>(loss);
  }
}

template <class T, bool kGradient>
__global__ void __launch_bounds__(kRowThreads, kRowBlocks)
    focal_loss_plain_rows_kernel(RowTiling tiling, FocalArguments<float> args, Sums<float> sums) {
  const PlainRows<T, kGradient, Labels::kPerRow> rows(tiling, args);
  write_sum<kRowThreads>(rows.sum([&](std::int64_t) { return focal_factors(args); }), sums);
}

template <class T, bool kGradient>
__global__ void __launch_bounds__(kFocalThreads, kPlaneBlocks)
    focal_loss_plain_planes_kernel(PlaneTiling tiling, FocalArguments<float> args,
                                   Sums<float> sums) {
  const PlainPlanes<T, kGradient, Labels::kPerRow> planes(tiling, args);
  write_sum<kFocalThreads>(planes.sum([&](std::int64_t) { return focal_factors(args); }), sums);
}

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kFocalThreads, 1)
    focal_loss_location_major_kernel(Tiles tiles, FocalArguments<math::Real<T>> args,
                                     Sums<math::Real<T>> sums) {
  const ElementLoss<T, kGamma, kLabels<kDense>> element_loss(args, focal_factors(args));
  double sum = 0;
  for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
    sum += LocationMajorTile<T, kGamma, kLabels<kDense>>(args, element_loss, tiles[i])
               .template sum<false>();
  }
  if (has_infinite(sum)) {
    sum = 0;
    for (std::int64_t i = blockIdx.x; i < tiles.count(); i += gridDim.x) {
      sum += LocationMajorTile<T, kGamma, kLabels<kDense>>(args, element_loss, tiles[i])
                 .template sum<true>();
    }
  }
  write_sum<kFocalThreads>(sum, sums);
}

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kFocalThreads, 1)
    focal_loss_class_major_kernel(FocalTiling tiling, FocalArguments<math::Real<T>> args,
                                  Sums<math::Real<T>> sums) {
  const ElementLoss<T, kGamma, kLabels<kDense>> element_loss(args, focal_factors(args));
  const auto tile = [&](std::uint32_t i) {
    const std::uint32_t tile_index = tiling.chunk_divisor.quotient(i);
    const auto chunk = static_cast<std::int32_t>(i - tile_index * tiling.chunk_divisor.divisor());
    return ClassMajorTile<T, kGamma, kLabels<kDense>>(args, element_loss, tiling.tiles[tile_index],
                                                      chunk * tiling.channels, tiling.channels);
  };
  const auto count = static_cast<std::uint32_t>(tiling.count);
  double sum = 0;
  for (auto i = blockIdx.x; i < count; i += gridDim.x) sum += tile(i).template sum<false>();
  if (has_infinite(sum)) {
    sum = 0;
    for (auto i = blockIdx.x; i < count; i += gridDim.x) sum += tile(i).template sum<true>();
  }
  write_sum<kFocalThreads>(sum, sums);
}

// True if `test` holds for a level of every array.
template <class Test>
bool all_arrays(const FocalLossArgs& args, std::int32_t level, const Test& test) {
  return test(args.logits[level]) && (args.targets == nullptr || test(args.targets[level])) &&
         (args.losses == nullptr || test(args.losses[level])) &&
         (args.gradient == nullptr || test(args.gradient[level]));
}

template <class Real>
FocalArguments<Real> arguments_of(const FocalLossArgs& args) {
  const math::AlphaWeights alpha = math::alpha_weights(args.alpha);
  FocalArguments<Real> result = {{},
                                 static_cast<std::int32_t>(args.num_classes),
                                 divisor_of(args.num_classes),
                                 args.labels,
                                 args.label_dtype,
                                 nullptr,
                                 0,
                                 static_cast<const Real*>(args.weight),
                                 args.normalizer,
                                 static_cast<Real>(args.scale * alpha.positive),
                                 static_cast<Real>(args.scale * alpha.negative),
                                 static_cast<Real>(args.gamma),
                                 static_cast<const Real*>(args.gradient_scale),
                                 args.gradient_dtype != args.dtype};
  result.normalizer.floor = math::normalizer_floor<Real>(args.normalizer);
  for (std::int32_t i = 0; i < args.num_levels; ++i) {
    result.level[i] = {args.logits[i].width,
                       all_arrays(args, i, [](const auto& view) { return is_class_major(view); }),
                       level_array(args.logits, i),
                       level_array(args.targets, i),
                       level_array(args.losses, i),
                       level_array(args.gradient, i)};
  }
  return result;
}

// The workspace: a sum of each block, then, if the last block adds them, the blocks that have
// ended.
constexpr std::size_t kPartialsSize = kMaxFocalBlocks * sizeof(double);
constexpr std::size_t kWorkspaceSize = kPartialsSize + (kLastBlockAdds ? sizeof(std::uint32_t) : 0);

// How a launch adds up its losses.
template <class Real>
class Adder {
 public:
  Adder(const FocalLossArgs& args, Workspace workspace, const Context& context)
      : context_(context),
        sums_{static_cast<double*>(workspace.data),
              reinterpret_cast<std::uint32_t*>(static_cast<std::byte*>(workspace.data) +
                                               kPartialsSize),
              static_cast<Real*>(args.loss_sum)} {}

  // Starts a kernel, with the sums as its last argument, and what adds them up.
  template <class... Parameters, class... Arguments>
  Status launch(const char* name, void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                const Arguments&... arguments) const {
    if (kLastBlockAdds && sums_.loss != nullptr && blocks != 0) {
      const Status status = fill_zero("sigmoid_focal_loss: arrivals", sums_.arrivals,
                                      sizeof(*sums_.arrivals), context_);
      if (!status.ok()) return status;
    }
    const Status status =
        cuda::launch(name, kernel, blocks, threads, context_, arguments..., sums_);
    if (!status.ok() || sums_.loss == nullptr || (kLastBlockAdds && blocks != 0)) return status;
    return cuda::launch("sigmoid_focal_loss: finish_sum_kernel", finish_sum_kernel<Real>, 1,
                        kFinishThreads, context_, static_cast<const double*>(sums_.partials),
                        std::int64_t{blocks}, sums_.loss);
  }

 private:
  const Context& context_;
  Sums<Real> sums_;
};

template <class T, Gamma kGamma, bool kDense>
Status run_general(const FocalLossArgs& args, const Adder<math::Real<T>>& adder) {
  const auto arguments = arguments_of<math::Real<T>>(args);
  const bool location_major = takes_location_major<T>(
      args.num_levels, args.num_classes,
      [&](std::int32_t level, const auto& test) { return all_arrays(args, level, test); });
  const FocalTiling tiling = focal_tiling(args.logits, args.num_levels, args.batch,
                                          args.num_classes, kVector<T>, location_major);
  if (tiling.is_too_large()) {
    return too_large("sigmoid_focal_loss: too many logits that are not rows");
  }
  if (location_major) {
    return adder.launch("focal_loss_location_major_kernel",
                        focal_loss_location_major_kernel<T, kGamma, kDense>, tiling.blocks(),
                        kFocalThreads, tiling.tiles, arguments);
  }
  return adder.launch("focal_loss_class_major_kernel",
                      focal_loss_class_major_kernel<T, kGamma, kDense>, tiling.blocks(),
                      kFocalThreads, tiling, arguments);
}

// Labels, gamma 2, neither weights nor arrays of losses.
template <class T>
Status run_plain(const FocalLossArgs& args, const Adder<float>& adder, const Context& context) {
  const auto arguments = arguments_of<float>(args);
  const bool has_gradient = args.gradient != nullptr;
  return dispatch_layout<T>(
      {args.logits, args.num_levels, args.batch, args.num_classes, has_gradient}, context,
      [&](std::int32_t level, const auto& test) { return all_arrays(args, level, test); },
      [&](const RowTiling& tiling) {
        return adder.launch("focal_loss_plain_rows_kernel",
                            has_gradient ? focal_loss_plain_rows_kernel<T, true>
                                         : focal_loss_plain_rows_kernel<T, false>,
                            tiling.blocks, kRowThreads, tiling, arguments);
      },
      [&](const PlaneTiling& tiling) {
        return adder.launch("focal_loss_plain_planes_kernel",
                            has_gradient ? focal_loss_plain_planes_kernel<T, true>
                                         : focal_loss_plain_planes_kernel<T, false>,
                            tiling.blocks(), kFocalThreads, tiling, arguments);
      },
      [&] { return run_general<T, Gamma::kTwo, false>(args, adder); });
}

template <class T>
Status run(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  using Real = math::Real<T>;
  const Adder<Real> adder(args, workspace, context);
  if (args.targets != nullptr) return run_general<T, Gamma::kAny, true>(args, adder);
  const auto gamma = static_cast<Real>(args.gamma);  // as the kernel for any gamma has it
  if (gamma == 0) return run_general<T, Gamma::kZero, false>(args, adder);
  if (gamma == 1) return run_general<T, Gamma::kOne, false>(args, adder);
  if (gamma != 2) return run_general<T, Gamma::kAny, false>(args, adder);
  if constexpr (std::is_same_v<Real, float>) {
    const bool has_real_gradient = args.gradient != nullptr && args.gradient_dtype != args.dtype;
    if (args.weight == nullptr && args.losses == nullptr && !has_real_gradient) {
      return run_plain<T>(args, adder, context);
    }
  }
  return run_general<T, Gamma::kTwo, false>(args, adder);
}

}  // namespace
}  // namespace fcos_ops::cuda::focal

namespace fcos_ops::cuda {

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&, const Context&) {
  return focal::kWorkspaceSize;
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
      return focal::run<typename decltype(t)::type>(args, workspace, context);
    });
  });
}

}  // namespace fcos_ops::cuda
