// What the losses of the whole FCOS loss, and its gradients, are multiplied by.
#pragma once

#include "cuda/common/runtime.cuh"
#include "fcos_ops/fcos_loss.h"
#include "math/expected_scale.h"
#include "math/qualifiers.h"

namespace fcos_ops::cuda::fcos {

// The part of FcosLossArgs that scales; `mean` is 1 over the images, or 1.
template <class Real>
struct ScaleArguments {
  const Real *normalizers, *expected_scale;
  bool per_image;
  Real mean, expected_factor;
};

template <class Real>
ScaleArguments<Real> scale_arguments(const FcosLossArgs& args) {
  const bool per_image = args.loss.normalizer == LossNormalizer::kPerImage;
  return {static_cast<const Real*>(args.normalizers), static_cast<const Real*>(args.expected_scale),
          per_image, static_cast<Real>(per_image ? 1.0 / static_cast<double>(args.batch) : 1.0),
          static_cast<Real>(args.expected_factor)};
}

// The factors of an image's losses: one over its positives, and over the sum of their centerness.
template <class Real>
struct LossScales {
  Real positives, centerness;
};

template <class Real>
__device__ __forceinline__ Real mean_over(Real mean, Real count, Real floor) {
  return mean / (count < floor ? floor : count);  // NaN where the count is
}

template <class Real>
__device__ __forceinline__ LossScales<Real> loss_scales(const ScaleArguments<Real>& args,
                                                        std::int64_t image) {
  const Real* const numbers = args.normalizers + (args.per_image ? 2 * image : 0);
  return {mean_over(args.mean, numbers[0], Real(1)), mean_over(args.mean, numbers[1], Real(1e-6))};
}

// That of a head's gradient alone: *scale, or what is expected where there is none.
template <class Real>
__device__ __forceinline__ Real gradient_scale(const ScaleArguments<Real>& args,
                                               const void* scale) {
  return scale == nullptr ? math::expected_scale(args.expected_factor, args.expected_scale)
                          : *static_cast<const Real*>(scale);
}

// True if a head's gradient has the expected scale; a head without one has none.
template <class Real>
__device__ __forceinline__ bool is_expected(const ScaleArguments<Real>& args, const void* scale) {
  return gradient_scale(args, scale) == gradient_scale(args, nullptr);
}

}  // namespace fcos_ops::cuda::fcos
