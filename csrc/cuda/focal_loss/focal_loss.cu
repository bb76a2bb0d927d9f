// Sigmoid focal loss and its gradient on a GPU. See include/fcos_ops/focal_loss.h for what they
// compute.
//
// One launch takes all levels and images, in one of four ways. Plain logits (labels, gamma 2, no
// weights, a gradient or none) take the kernels of plain_rows.cuh or plain_planes.cuh, which say
// what a thread and a block do. Everything else takes the general ones: where the classes of
// neighbouring locations form one line (location-major), a block takes a tile of that line; else
// (class-major: NCHW, or any strides) it takes a tile of locations and a chunk of channels. A
// thread takes 16 bytes of logits at a time and has the next 16 on their way meanwhile. The sums
// of the blocks are added as block_sums.cuh says.
//
// Logits are read once and gradients written once: 4 bytes a logit of bfloat16. In the time that
// takes, the schedulers of an H200 start about 25 instructions a logit, so instructions are what
// counts.
#include <type_traits>

#include "cuda/common/block_sums.cuh"
#include "cuda/drivers.h"
#include "cuda/focal_loss/general_tiles.cuh"
#include "cuda/focal_loss/plain_layouts.cuh"

namespace fcos_ops::cuda::focal {
namespace {

// Plain: PlainRows or PlainPlanes.
template <class Plain>
__global__ void __launch_bounds__(Plain::kThreads, Plain::kBlocks)
    focal_loss_plain_kernel(typename Plain::Tiling tiling, FocalArguments<float> args,
                            BlockSums<float> sums) {
  const double sum = Plain(tiling, args).sum([&](std::int64_t) { return focal_factors(args); });
  add_to_total<Plain::kThreads>(static_cast<float>(sum), sums);
}

template <class T, Gamma kGamma, Labels kLabels, bool kLocationMajor>
__global__ void __launch_bounds__(kFocalThreads, 1)
    focal_loss_general_kernel(FocalTiling tiling, FocalArguments<math::Real<T>> args,
                              BlockSums<math::Real<T>> sums) {
  const GeneralTiles<T, kGamma, kLabels, kLocationMajor> tiles(tiling, args);
  const FocalFactors<math::Real<T>> factors = focal_factors(args);
  const double sum = tiles.sum([&](std::int64_t) { return factors; });
  add_to_total<kFocalThreads>(static_cast<math::Real<T>>(sum), sums);
}

FocalProblem problem_of(const FocalLossArgs& args) {
  return {args.logits,      args.gradient, args.num_levels, args.batch,
          args.num_classes, args.targets,  args.losses};
}

template <class Real>
FocalArguments<Real> arguments_of(const FocalLossArgs& args) {
  auto result = focal_arguments<Real>(problem_of(args), args.alpha, args.gamma, args.scale);
  result.labels = args.labels;
  result.label_dtype = args.label_dtype;
  result.weight = static_cast<const Real*>(args.weight);
  result.normalizer = args.normalizer;
  result.normalizer.floor = math::normalizer_floor<Real>(args.normalizer);
  result.gradient_scale = static_cast<const Real*>(args.gradient_scale);
  result.gradient_is_real = args.gradient_dtype != args.dtype;
  return result;
}

struct Call {
  const FocalLossArgs& args;
  Workspace workspace;
  const Context& context;
};

// Starts a kernel and what adds the sums of its blocks.
template <class Tiling, class Real>
Status start(const Call& call, const char* name,
             void (*kernel)(Tiling, FocalArguments<Real>, BlockSums<Real>), unsigned threads,
             const Tiling& tiling, const FocalArguments<Real>& arguments) {
  return launch_with_total<Real>(name, "sigmoid_focal_loss: finish_sum_kernel", kernel,
                                 tiling.blocks(), threads, call.context, call.workspace,
                                 call.args.loss_sum, tiling, arguments);
}

template <class T, Gamma kGamma, Labels kLabels>
Status run_general(const Call& call) {
  const FocalLossArgs& args = call.args;
  const auto arguments = arguments_of<math::Real<T>>(args);
  const FocalProblem problem = problem_of(args);
  const bool location_major = takes_location_major<T>(problem);
  const auto tiling = focal_tiling<T>(problem, location_major);
  if (tiling.is_too_large()) {
    return too_large("sigmoid_focal_loss: too many logits that are not rows");
  }
  return start(call, "focal_loss_general_kernel",
               location_major ? focal_loss_general_kernel<T, kGamma, kLabels, true>
                              : focal_loss_general_kernel<T, kGamma, kLabels, false>,
               kFocalThreads, tiling, arguments);
}

// Labels, gamma 2, neither weights nor arrays of losses.
template <class T>
Status run_plain(const Call& call) {
  const FocalLossArgs& args = call.args;
  const auto arguments = arguments_of<float>(args);
  return dispatch_layout<T, Labels::kPerRow>(
      problem_of(args), call.context,
      [&](auto type, const auto& tiling) {
        using Plain = typename decltype(type)::type;
        return start(call, "focal_loss_plain_kernel", focal_loss_plain_kernel<Plain>,
                     Plain::kThreads, tiling, arguments);
      },
      [&] { return run_general<T, Gamma::kTwo, Labels::kPerRow>(call); });
}

template <class T>
Status run(const Call& call) {
  using Real = math::Real<T>;
  const FocalLossArgs& args = call.args;
  if (args.targets != nullptr) return run_general<T, Gamma::kAny, Labels::kDense>(call);
  const auto gamma = static_cast<Real>(args.gamma);  // as the kernel for any gamma has it
  if (gamma == 0) return run_general<T, Gamma::kZero, Labels::kPerRow>(call);
  if (gamma == 1) return run_general<T, Gamma::kOne, Labels::kPerRow>(call);
  if (gamma != 2) return run_general<T, Gamma::kAny, Labels::kPerRow>(call);
  if constexpr (std::is_same_v<Real, float>) {
    const bool has_real_gradient = args.gradient != nullptr && args.gradient_dtype != args.dtype;
    if (args.weight == nullptr && args.losses == nullptr && !has_real_gradient) {
      return run_plain<T>(call);
    }
  }
  return run_general<T, Gamma::kTwo, Labels::kPerRow>(call);
}

}  // namespace
}  // namespace fcos_ops::cuda::focal

namespace fcos_ops::cuda {

std::size_t workspace_size(const FocalLossArgs&, const Context&) {
  return BlockSumsWorkspace(nullptr, focal::kMaxFocalBlocks).size;
}

Status run(const FocalLossArgs& args, Workspace workspace, const Context& context) {
  return on_device(context, [&]() -> Status {
    return math::dispatch(math::Floating{}, args.dtype, [&](auto t) {
      return focal::run<typename decltype(t)::type>({args, workspace, context});
    });
  });
}

}  // namespace fcos_ops::cuda
