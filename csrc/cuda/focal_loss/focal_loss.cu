// Sigmoid focal loss and its gradient on a GPU. See include/fcos_ops/focal_loss.h for what they
// compute.
//
// One launch takes all levels and images. Where the classes of neighbouring locations form one line
// (location-major), a block takes a tile of that line; else (class-major: NCHW, or any strides) it
// takes a tile of locations and a chunk of channels. A thread takes 16 bytes of logits at a time,
// has the next 16 on their way meanwhile, and writes the gradient of the first. A second kernel
// adds the sums of the blocks.
//
// Logits are read once and gradients written once: 4 bytes a logit of bfloat16. In the time that
// takes, the schedulers of an H200 start about 25 instructions a logit, so instructions are what
// counts: nearly all vectors hold negatives only and take a path of about 28 a logit (counted in
// the PTX); the positives of a row are set aside and patched in.
#include "cuda/common/block_reduce.cuh"
#include "cuda/drivers.h"
#include "cuda/focal_loss/class_major.cuh"
#include "cuda/focal_loss/location_major.cuh"
#include "cuda/focal_loss/tiling.cuh"

namespace fcos_ops::cuda::focal {
namespace {

template <bool kDense>
inline constexpr Labels kLabels = kDense ? Labels::kDense : Labels::kPerRow;

template <class Real>
__device__ __forceinline__ void write_partial(double sum, double* partials) {
  const Real total = block_sum<kFocalThreads>(static_cast<Real>(sum));
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kFocalThreads, 1)
    focal_loss_location_major_kernel(Tiles tiles, FocalArguments<math::Real<T>> args,
                                     double* partials) {
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
  write_partial<math::Real<T>>(sum, partials);
}

template <class T, Gamma kGamma, bool kDense>
__global__ void __launch_bounds__(kFocalThreads, 1)
    focal_loss_class_major_kernel(FocalTiling tiling, FocalArguments<math::Real<T>> args,
                                  double* partials) {
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
  write_partial<math::Real<T>>(sum, partials);
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

template <class T, Gamma kGamma, bool kDense>
Status run(const FocalLossArgs& args, double* partials, const Context& context) {
  const auto arguments = arguments_of<math::Real<T>>(args);
  const bool location_major = takes_location_major<T>(
      args.num_levels, args.num_classes,
      [&](std::int32_t level, const auto& test) { return all_arrays(args, level, test); });
  const FocalTiling tiling = focal_tiling(args.logits, args.num_levels, args.batch,
                                          args.num_classes, kVector<T>, location_major);
  if (tiling.is_too_large()) {
    return too_large("sigmoid_focal_loss: too many logits that are not rows");
  }
  const unsigned blocks = tiling.blocks();
  const Status status = location_major
                            ? launch("focal_loss_location_major_kernel",
                                     focal_loss_location_major_kernel<T, kGamma, kDense>, blocks,
                                     kFocalThreads, context, tiling.tiles, arguments, partials)
                            : launch("focal_loss_class_major_kernel",
                                     focal_loss_class_major_kernel<T, kGamma, kDense>, blocks,
                                     kFocalThreads, context, tiling, arguments, partials);
  if (!status.ok() || args.loss_sum == nullptr) return status;
  return launch("sigmoid_focal_loss: finish_sum_kernel", finish_sum_kernel<math::Real<T>>, 1,
                kFinishThreads, context, static_cast<const double*>(partials), std::int64_t{blocks},
                static_cast<math::Real<T>*>(args.loss_sum));
}

template <class T>
Status dispatch_gamma(const FocalLossArgs& args, double* partials, const Context& context) {
  if (args.targets != nullptr) return run<T, Gamma::kAny, true>(args, partials, context);
  const auto gamma = static_cast<math::Real<T>>(args.gamma);  // as the kernel for any gamma has it
  if (gamma == 0) return run<T, Gamma::kZero, false>(args, partials, context);
  if (gamma == 1) return run<T, Gamma::kOne, false>(args, partials, context);
  if (gamma == 2) return run<T, Gamma::kTwo, false>(args, partials, context);
  return run<T, Gamma::kAny, false>(args, partials, context);
}

}  // namespace
}  // namespace fcos_ops::cuda::focal

namespace fcos_ops::cuda {

std::size_t sigmoid_focal_loss_workspace_size(const FocalLossArgs&, const Context&) {
  return focal::kMaxFocalBlocks * sizeof(double);
}

Status sigmoid_focal_loss(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
      return focal::dispatch_gamma<typename decltype(t)::type>(
          args, static_cast<double*>(workspace.data), context);
    });
  });
}

}  // namespace fcos_ops::cuda
