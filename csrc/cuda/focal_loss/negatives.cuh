// Focal loss, for gamma 2, of vectors of logits that are all negative, as nearly all are: what the
// kernels of focal loss and of the whole FCOS loss spend their time on.
#pragma once

#include "cuda/focal_loss/elements.cuh"

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

// Adds twice the loss p^2 softplus(x) of a negative logit to *twice_sum, and returns its derivative
// p^2 (2 (1 - p) softplus(x) + p) times grad_factor, for p = sigmoid(x). 23 instructions, of which
// two are special functions, if the sources are compiled with approximate division. Both results
// are within 1.3e-6 wherever they are normal numbers, and within 2e-6 for the least accurate exp
// and reciprocal that CUDA documents. The sum becomes infinite or NaN where |x| is above 2.3e38, so
// that it tells.
__device__ __forceinline__ float add_negative(float x, float grad_factor, float* twice_sum) {
  // e = exp(-|x|) is 2^t times 1 + the rest that t, rounded, leaves: near -20 the loss has three
  // times the relative error of e, and that of 2^t alone is 1e-6.
  constexpr float kLog2e = 1.44269504f, kLn2 = 0.693147182f;
  const float magnitude = math::absolute(x), t = __fmul_rn(magnitude, -kLog2e);
  const float rest = fmaf(-t, kLn2, -magnitude), power_of_two = exp2f(t);
  const float e = fmaf(power_of_two, rest, power_of_two);
  const float larger = 1.0f / (1.0f + e), smaller = e * larger;
  // log1p(e) = e A(e) + w B(w), for w = smaller = e / (1 + e), to 3.8e-7 by six coefficients, where
  // a polynomial in e takes eight. Doubled, as x + |x| is twice the positive part.
  const float a = fmaf(e, fmaf(e, 0.013003475f, -0.122991182f), 0.82352334f);
  const float b = fmaf(smaller, fmaf(smaller, 0.07738629f, 0.29938898f), 1.17647744f);
  const float twice_softplus = fmaf(smaller, b, fmaf(e, a, x + magnitude));
  const float p = math::select_by_sign(x, smaller, larger);
  const float one_minus_p = math::select_by_sign(x, larger, smaller);
  const float p2 = p * p;
  *twice_sum = fmaf(p2, twice_softplus, *twice_sum);
  return p2 * grad_factor * fmaf(one_minus_p, twice_softplus, p);
}

// add_negative() of all elements; returns the gradients, if they are wanted.
template <bool kGradient, class T>
__device__ __forceinline__ Vector<T> add_negatives(const Vector<T>& logits, float grad_factor,
                                                   float* twice_sum) {
  float gradient[kVector<T>];
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) {
    gradient[i] = add_negative(read(logits.element(i)), grad_factor, twice_sum);
  }
  Vector<T> result = {};
  if constexpr (kGradient) {
#pragma unroll
    for (int i = 0; i < kVector<T>; i += 2) set_pair(result, i, gradient[i], gradient[i + 1]);
  }
  return result;
}

}  // namespace fcos_ops::cuda::focal
