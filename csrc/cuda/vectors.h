// Sixteen bytes of neighbouring elements in registers: one access where the address allows it.
#pragma once

#include "cuda/runtime.h"
#include "math/half.h"

#if !defined(FCOS_OPS_SIMT)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace fcos_ops::cuda {

inline constexpr std::uintptr_t kVectorBytes = 16;

// Elements of type T in a vector.
template <class T>
inline constexpr int kVector = static_cast<int>(kVectorBytes / sizeof(T));

template <class T>
struct alignas(kVectorBytes) Vector {
  T element[kVector<T>];
};

template <class T>
__device__ __forceinline__ bool is_aligned(const T* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kVectorBytes == 0;
}

// By the hardware, where math/half.h computes the same with integers. math::to_real multiplies a
// subnormal, which a kernel that flushes subnormals must not.
__device__ __forceinline__ float read(const float& x) { return x; }
__device__ __forceinline__ double read(const double& x) { return x; }
__device__ __forceinline__ float read(math::BFloat16 x) { return math::to_real(x); }
__device__ __forceinline__ float read(math::Half x) {
#if defined(FCOS_OPS_SIMT)
  return math::to_real(x);
#else
  return __half2float(__ushort_as_half(x.bits));
#endif
}

__device__ __forceinline__ void write(float value, float& to) { to = value; }
__device__ __forceinline__ void write(double value, double& to) { to = value; }
__device__ __forceinline__ void write(float value, math::BFloat16& to) {
#if defined(FCOS_OPS_SIMT)
  math::from_real(value, to);
#else
  to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#endif
}
__device__ __forceinline__ void write(float value, math::Half& to) {
#if defined(FCOS_OPS_SIMT)
  math::from_real(value, to);
#else
  to.bits = __half_as_ushort(__float2half_rn(value));
#endif
}

// Two at once: one instruction for bfloat16 (from compute capability 8.0 on) and float16.
template <class Real, class T>
__device__ __forceinline__ void write_pair(Real low, Real high, T* to) {
  write(low, to[0]);
  write(high, to[1]);
}
#if !defined(FCOS_OPS_SIMT)
__device__ __forceinline__ void write_pair(float low, float high, math::BFloat16* to) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  to[0].bits = __bfloat16_as_ushort(pair.x);
  to[1].bits = __bfloat16_as_ushort(pair.y);
}
__device__ __forceinline__ void write_pair(float low, float high, math::Half* to) {
  const __half2 pair = __floats2half2_rn(low, high);
  to[0].bits = __half_as_ushort(pair.x);
  to[1].bits = __half_as_ushort(pair.y);
}
#endif

template <class T>
__device__ __forceinline__ Vector<T> load_vector(const T* from) {
  if (is_aligned(from)) return *reinterpret_cast<const Vector<T>*>(from);
  Vector<T> vector;
  for (int i = 0; i < kVector<T>; ++i) vector.element[i] = from[i];
  return vector;
}

template <class T>
__device__ __forceinline__ void store_vector(const Vector<T>& vector, T* to) {
  if (is_aligned(to)) {
    *reinterpret_cast<Vector<T>*>(to) = vector;
  } else {
    for (int i = 0; i < kVector<T>; ++i) to[i] = vector.element[i];
  }
}

// Stores kCount values, a multiple of kVector<T>, as elements of type T.
template <class T, class Real, int kCount>
__device__ __forceinline__ void store_values(const Real (&values)[kCount], T* to) {
  static_assert(kCount % kVector<T> == 0 && kVector<T> % 2 == 0);
  for (int first = 0; first < kCount; first += kVector<T>) {
    Vector<T> vector;
    for (int i = 0; i < kVector<T>; i += 2) {
      write_pair(values[first + i], values[first + i + 1], vector.element + i);
    }
    store_vector(vector, to + first);
  }
}

}  // namespace fcos_ops::cuda
