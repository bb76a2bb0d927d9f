// The classification part of the whole FCOS loss on a GPU, the second of its launches: focal loss
// as in focal_loss.cu, in the same four ways, but a row's label is found through the box that it
// matches, and images may have normalizers of their own. It is compiled as focal_loss.cu is.
#include <algorithm>
#include <type_traits>

#include "cuda/common/block_reduce.cuh"
#include "cuda/common/last_block.cuh"
#include "cuda/fcos_loss/fcos_classes.h"
#include "cuda/fcos_loss/scales.cuh"
#include "cuda/focal_loss/general_tiles.cuh"
#include "cuda/focal_loss/plain_layouts.cuh"

namespace fcos_ops::cuda::fcos {
namespace {

using math::Gamma;
static_assert(kMaxClassBlocks == focal::kMaxFocalBlocks);

// Blocks for each multiprocessor, of a launch that usually has nothing to do: about as many as run
// at once.
constexpr std::int64_t kFewBlocks = 4;

// What a class kernel takes beside the arguments of focal loss.
template <class Real>
struct ClassArguments {
  ScaleArguments<Real> scales;
  LossSums* sums;                                  // null where nobody asks for losses
  Real *class_loss, *ltrb_loss, *centerness_loss;  // each null where nobody asks
  unsigned location_blocks;
  bool only_unexpected;  // as in FcosLossArgs
};

// The factors of an image.
template <class Real>
struct ImageFactors {
  const focal::FocalArguments<Real>& classes;
  const ScaleArguments<Real>& scales;

  __device__ __forceinline__ focal::FocalFactors<Real> operator()(std::int64_t image) const {
    const Real scale = loss_scales(scales, image).positives;
    return {classes.positive_scale * scale, classes.negative_scale * scale,
            gradient_scale(scales, classes.gradient_scale)};
  }
};

template <class Real>
__device__ __forceinline__ bool has_nothing_to_do(const focal::FocalArguments<Real>& classes,
                                                  const ClassArguments<Real>& args) {
  return args.only_unexpected && is_expected(args.scales, classes.gradient_scale);
}

// Leaves the sum over the block; the last block adds those of all blocks of both launches.
template <unsigned kThreads, class Real>
__device__ __forceinline__ void add_losses(double sum, const ClassArguments<Real>& args) {
  LossSums* const sums = args.sums;
  if (sums == nullptr) return;
  const Real total = block_sum<kThreads>(static_cast<Real>(sum));
  if (threadIdx.x == 0) sums->classes[blockIdx.x] = total;
  if (!is_last_block(&sums->arrivals, gridDim.x)) return;
  const double* const locations = sums->locations[0];
  const double classes = sum_of_partials<kThreads, 1>(sums->classes, gridDim.x);
  const double ltrb = sum_of_partials<kThreads, 2>(locations, args.location_blocks, 2);
  const double centerness = sum_of_partials<kThreads, 3>(locations + 1, args.location_blocks, 2);
  if (threadIdx.x != 0) return;
  if (args.class_loss) *args.class_loss = static_cast<Real>(classes);
  if (args.ltrb_loss) *args.ltrb_loss = static_cast<Real>(ltrb);
  if (args.centerness_loss) *args.centerness_loss = static_cast<Real>(centerness);
}

// Plain: PlainRows or PlainPlanes.
template <class Plain>
__global__ void __launch_bounds__(Plain::kThreads, Plain::kBlocks)
    fcos_loss_plain_kernel(typename Plain::Tiling tiling, focal::FocalArguments<float> classes,
                           ClassArguments<float> args) {
  if (has_nothing_to_do(classes, args)) return;
  const Plain plain(tiling, classes);
  add_losses<Plain::kThreads>(plain.sum(ImageFactors<float>{classes, args.scales}), args);
}

// Resident blocks per SM: the most that do not spill.
template <class T, bool kLocationMajor>
inline constexpr unsigned kResidentBlocks = sizeof(T) == 8                     ? 4
                                            : sizeof(T) == 2 && kLocationMajor ? 4
                                                                               : 7;

template <class T, Gamma kGamma, bool kLocationMajor>
__global__ void __launch_bounds__(focal::kFocalThreads, kResidentBlocks<T, kLocationMajor>)
    fcos_loss_classes_kernel(focal::FocalTiling tiling,
                             focal::FocalArguments<math::Real<T>> classes,
                             ClassArguments<math::Real<T>> args) {
  if (has_nothing_to_do(classes, args)) return;
  const focal::GeneralTiles<T, kGamma, focal::Labels::kMatches, kLocationMajor> tiles(tiling,
                                                                                      classes);
  add_losses<focal::kFocalThreads>(tiles.sum(ImageFactors<math::Real<T>>{classes, args.scales}),
                                   args);
}

// --------------------------------------------------------------------------------------- drivers

template <class Real>
focal::FocalArguments<Real> class_arguments(const FcosLossArgs& args,
                                            const focal::FocalProblem& problem) {
  auto result = focal::focal_arguments<Real>(problem, args.loss.alpha, args.loss.gamma, 1.0);
  result.labels = args.labels;
  result.label_dtype = args.label_dtype;
  result.matched = args.matched;
  result.num_boxes = args.num_boxes;
  result.gradient_scale = static_cast<const Real*>(args.class_gradient_scale);
  return result;
}

// A launch of a class kernel.
template <class Real>
struct ClassLaunch {
  focal::FocalArguments<Real> classes;
  ClassArguments<Real> args;
  const Context& context;

  template <class Tiling>
  Status start(const char* name,
               void (*kernel)(Tiling, focal::FocalArguments<Real>, ClassArguments<Real>),
               unsigned threads, const Tiling& tiling) const {
    unsigned blocks = tiling.blocks();
    if (args.only_unexpected) {
      blocks = focal::blocks_of(blocks, kFewBlocks * count_multiprocessors(context));
    }
    if (args.sums != nullptr) blocks = std::max(blocks, 1u);  // one is the last
    return launch(name, kernel, blocks, threads, context, tiling, classes, args);
  }
};

template <class T, Gamma kGamma>
Status run_general(const focal::FocalProblem& problem, const ClassLaunch<math::Real<T>>& launch) {
  const bool location_major = focal::takes_location_major<T>(problem);
  const auto tiling = focal::focal_tiling<T>(problem, location_major);
  if (tiling.is_too_large()) return too_large("fcos_loss: too many class logits that are not rows");
  return launch.start("fcos_loss_classes_kernel",
                      location_major ? fcos_loss_classes_kernel<T, kGamma, true>
                                     : fcos_loss_classes_kernel<T, kGamma, false>,
                      focal::kFocalThreads, tiling);
}

template <class T>
Status run(const FcosLossArgs& args, unsigned location_blocks, LossSums* sums,
           const Context& context) {
  using Real = math::Real<T>;
  const bool wanted = args.class_loss || args.class_gradient;
  if (!wanted && sums == nullptr) return {};
  const focal::FocalProblem problem = {args.class_logits, args.class_gradient,
                                       wanted ? args.num_levels : 0, args.batch, args.num_classes};
  const ClassLaunch<Real> launch = {
      class_arguments<Real>(args, problem),
      {scale_arguments<Real>(args), sums, static_cast<Real*>(args.class_loss),
       static_cast<Real*>(args.ltrb_loss), static_cast<Real*>(args.centerness_loss),
       location_blocks, args.only_unexpected},
      context};
  if (args.loss.gamma != 2.0) return run_general<T, Gamma::kAny>(problem, launch);
  const auto run_gamma_two = [&] { return run_general<T, Gamma::kTwo>(problem, launch); };
  if constexpr (std::is_same_v<Real, double>) {
    return run_gamma_two();
  } else {
    return focal::dispatch_layout<T, focal::Labels::kMatches>(
        problem, context,
        [&](auto type, const auto& tiling) {
          using Plain = typename decltype(type)::type;
          return launch.start("fcos_loss_plain_kernel", fcos_loss_plain_kernel<Plain>,
                              Plain::kThreads, tiling);
        },
        run_gamma_two);
  }
}

}  // namespace

Status run_classes(const FcosLossArgs& args, unsigned location_blocks, LossSums* sums,
                   const Context& context) {
  return math::dispatch(math::Floating{}, args.class_dtype, [&](auto t) {
    return run<typename decltype(t)::type>(args, location_blocks, sums, context);
  });
}

}  // namespace fcos_ops::cuda::fcos
