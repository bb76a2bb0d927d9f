// Focal loss, for gamma 2, of vectors of logits that are all negative, as nearly all are.
#pragma once

#include "cuda/focal_loss/elements.cuh"
#include "math/focal_negative.h"

namespace fcos_ops::cuda::focal {

// A vector whose elements of the set bits are inert.
template <class T>
__device__ __forceinline__ Vector<T> with_inert(const Vector<T>& vector, std::uint32_t elements) {
  T inert;
  write(kInertLogit, inert);
  Vector<T> result = {};
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) {
    result.set(i, (elements >> i & 1u) != 0 ? inert : vector.element(i));
  }
  return result;
}

// Adds twice the losses of all elements to *twice_sum; returns the gradients, if they are wanted.
template <bool kGradient, class T>
__device__ __forceinline__ Vector<T> add_negatives(const Vector<T>& logits, float grad_factor,
                                                   float* twice_sum) {
  float gradient[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) {
    gradient[i] = math::add_focal_negative(read(logits.element(i)), grad_factor, twice_sum);
  }
  if constexpr (!kGradient) return {};
  return vector_of<Vector<T>>(gradient);
}

}  // namespace fcos_ops::cuda::focal
