// Sixteen bytes of neighbouring elements in registers, or eight: one access where the address
// allows it. And four elements of any stride, such as a box.
#pragma once

#include <type_traits>

#include "common/dtypes.h"
#include "cuda/common/runtime.cuh"

#if !defined(FCOS_OPS_SIMT)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace fcos_ops::cuda {

inline constexpr std::uintptr_t kVectorBytes = 16;

// Elements of type T in a vector of 16 bytes.
template <class T>
inline constexpr int kVector = static_cast<int>(kVectorBytes / sizeof(T));

// A vector is four words or two, which stay in registers where an array of two-byte elements does
// not.
template <class T, int kWords = 4>
struct alignas(4 * kWords) Vector {
  using Element = T;
  using Access = std::conditional_t<kWords == 4, uint4, uint2>;
  static constexpr int kCount = static_cast<int>(4 * kWords / sizeof(T));

  std::uint32_t word[kWords];

  __device__ __forceinline__ T element(int i) const {
    if constexpr (sizeof(T) == 2) {
      return {static_cast<std::uint16_t>(i % 2 == 0 ? word[i / 2] : word[i / 2] >> 16)};
    } else if constexpr (sizeof(T) == 4) {
      return math::bit_cast<T>(word[i]);
    } else {
      return math::bit_cast<T>(static_cast<std::uint64_t>(word[2 * i + 1]) << 32 | word[2 * i]);
    }
  }

  // Element i must still be 0: halves are OR-ed in.
  __device__ __forceinline__ void set(int i, T value) {
    if constexpr (sizeof(T) == 2) {
      word[i / 2] |= static_cast<std::uint32_t>(value.bits) << (i % 2 * 16);
    } else if constexpr (sizeof(T) == 4) {
      word[i] = math::bit_cast<std::uint32_t>(value);
    } else {
      const auto bits = math::bit_cast<std::uint64_t>(value);
      word[2 * i] = static_cast<std::uint32_t>(bits);
      word[2 * i + 1] = static_cast<std::uint32_t>(bits >> 32);
    }
  }
};

template <class T>
__device__ __forceinline__ bool is_aligned(const T* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kVectorBytes == 0;
}

// Conversions by the hardware, where math/half.h computes the same with integers: math::to_real
// multiplies a subnormal, which a kernel that flushes subnormals must not. Arithmetic types pass
// unchanged.
template <class Number>
__device__ __forceinline__ Number read(const Number& x) {
  static_assert(std::is_arithmetic_v<Number>);
  return x;
}
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

// Element `index` of an array of a type that Real computes. math::read_real must not be used where
// subnormals are flushed, as said above.
template <class Real>
__device__ __forceinline__ Real read_stored(const void* data, DType dtype, std::int64_t index) {
  return math::dispatch(math::ComputedAs<Real>{}, dtype,
                        [&](auto type) { return read(type.array(data)[index]); });
}

template <class T>
struct alignas(4 * sizeof(T) < kVectorBytes ? 4 * sizeof(T) : kVectorBytes) FourValues {
  T value[4];
};

template <class T>
__device__ __forceinline__ bool are_four_aligned(const T* address, std::int64_t stride) {
  return stride == 1 && reinterpret_cast<std::uintptr_t>(address) % alignof(FourValues<T>) == 0;
}

// Four elements `stride` apart, such as the sides of a box.
template <class T, class Real>
__device__ __forceinline__ void load_four(const T* from, std::int64_t stride, Real (&values)[4]) {
  if (are_four_aligned(from, stride)) {
    const auto four = *reinterpret_cast<const FourValues<T>*>(from);
    for (int i = 0; i < 4; ++i) values[i] = read(four.value[i]);
  } else {
    for (int i = 0; i < 4; ++i) values[i] = read(from[i * stride]);
  }
}

template <class T, class Real>
__device__ __forceinline__ void store_four(const Real (&values)[4], T* to, std::int64_t stride) {
  if (are_four_aligned(to, stride)) {
    FourValues<T> four;
    for (int i = 0; i < 4; ++i) write(values[i], four.value[i]);
    *reinterpret_cast<FourValues<T>*>(to) = four;
  } else {
    for (int i = 0; i < 4; ++i) write(values[i], to[i * stride]);
  }
}

// Sets elements i and i + 1, which must still be 0; for bfloat16 (from compute capability 8.0 on)
// and float16 by one instruction.
template <class T, int kWords, class Real>
__device__ __forceinline__ void set_pair(Vector<T, kWords>& vector, int i, Real low, Real high) {
  T first, second;
  write(low, first);
  write(high, second);
  vector.set(i, first);
  vector.set(i + 1, second);
}
#if !defined(FCOS_OPS_SIMT)
template <int kWords>
__device__ __forceinline__ void set_pair(Vector<math::BFloat16, kWords>& vector, int i, float low,
                                         float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  vector.word[i / 2] = math::bit_cast<std::uint32_t>(pair);
}
template <int kWords>
__device__ __forceinline__ void set_pair(Vector<math::Half, kWords>& vector, int i, float low,
                                         float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  vector.word[i / 2] = math::bit_cast<std::uint32_t>(pair);
}
#endif

template <class T>
__device__ __forceinline__ Vector<T> load_vector(const T* from) {
  if (is_aligned(from)) return *reinterpret_cast<const Vector<T>*>(from);
  Vector<T> vector = {};
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) vector.set(i, from[i]);
  return vector;
}

template <class T>
__device__ __forceinline__ void store_vector(const Vector<T>& vector, T* to) {
  if (is_aligned(to)) {
    *reinterpret_cast<Vector<T>*>(to) = vector;
  } else {
#pragma unroll
    for (int i = 0; i < kVector<T>; ++i) to[i] = vector.element(i);
  }
}

// A vector at a multiple of 16 bytes, of an array that nothing writes while the kernel runs.
template <class T>
__device__ __forceinline__ Vector<T> load_read_only(const T* from) {
  return math::bit_cast<Vector<T>>(__ldg(reinterpret_cast<const uint4*>(from)));
}

// Stores a vector at a multiple of 16 bytes of global memory, which the compiler can not know of an
// address that was read from memory.
template <class T>
__device__ __forceinline__ void store_global(const Vector<T>& vector, T* to) {
  __builtin_assume(__isGlobal(to) != 0);
  *reinterpret_cast<Vector<T>*>(to) = vector;
}

// The vector, a V, of the values from `first` on.
template <class V, class Real, int kCount>
__device__ __forceinline__ V vector_of(const Real (&values)[kCount], int first = 0) {
  static_assert(kCount % V::kCount == 0 && V::kCount % 2 == 0);
  V vector = {};
#pragma unroll
  for (int i = 0; i < V::kCount; i += 2) {
    set_pair(vector, i, values[first + i], values[first + i + 1]);
  }
  return vector;
}

// Loads the first `count` elements at `from`; the rest are 0.
template <class T>
__device__ __forceinline__ Vector<T> load_up_to(const T* from, int count) {
  if (count == kVector<T>) return load_vector(from);
  Vector<T> vector = {};
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) {
    if (i < count) vector.set(i, from[i]);
  }
  return vector;
}

// Stores the first `count` elements.
template <class T>
__device__ __forceinline__ void store_up_to(const Vector<T>& vector, int count, T* to) {
  if (count == kVector<T>) {
    store_vector(vector, to);
    return;
  }
#pragma unroll
  for (int i = 0; i < kVector<T>; ++i) {
    if (i < count) to[i] = vector.element(i);
  }
}

// Stores the first `count` of kCount values, a multiple of kVector<T>, as elements of type T.
template <class T, class Real, int kCount>
__device__ __forceinline__ void store_up_to(const Real (&values)[kCount], int count, T* to) {
  if (count == kCount) {
#pragma unroll
    for (int first = 0; first < kCount; first += kVector<T>) {
      store_vector(vector_of<Vector<T>>(values, first), to + first);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < count) write(values[i], to[i]);
  }
}

}  // namespace fcos_ops::cuda
