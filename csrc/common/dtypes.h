// Dispatch of run-time dtypes to types: elements of arrays, and the number of a Normalizer.
#pragma once

#include <type_traits>

#include "fcos_ops/types.h"
#include "math/half.h"

namespace fcos_ops::math {

template <class T>
struct Type {
  using type = T;
  // `data` as an array of T.
  FCOS_HD const T* array(const void* data) const { return static_cast<const T*>(data); }
  FCOS_HD T* array(void* data) const { return static_cast<T*>(data); }
};

// The dtype that names the type of a number, and that of T.
FCOS_HD constexpr DType dtype_of(float) { return DType::kFloat32; }
FCOS_HD constexpr DType dtype_of(double) { return DType::kFloat64; }
FCOS_HD constexpr DType dtype_of(Half) { return DType::kFloat16; }
FCOS_HD constexpr DType dtype_of(BFloat16) { return DType::kBFloat16; }
FCOS_HD constexpr DType dtype_of(std::int32_t) { return DType::kInt32; }
FCOS_HD constexpr DType dtype_of(std::int64_t) { return DType::kInt64; }
FCOS_HD constexpr DType dtype_of(std::uint8_t) { return DType::kUInt8; }
template <class T>
inline constexpr DType kDTypeOf = dtype_of(T());

// A list in which the last stands for every dtype that is not listed: see dispatch().
template <class... Ts>
struct Types {};

using Floating = Types<float, double, Half, BFloat16>;
using Reals = Types<double, float>;  // of the maths; any dtype but kFloat64 is computed as float
using Integers = Types<std::int64_t, std::int32_t>;
using Numbers = Types<float, double, Half, BFloat16, std::int32_t, std::int64_t, std::uint8_t>;
// The types that are computed as Real; and the types whose values Real can hold.
template <class Real>
using ComputedAs =
    std::conditional_t<std::is_same_v<Real, double>, Types<double>, Types<Half, BFloat16, float>>;
template <class Real>
using HeldBy = std::conditional_t<std::is_same_v<Real, double>,
                                  Types<double, Half, BFloat16, float>, ComputedAs<Real>>;

template <class... Ts>
constexpr bool is_among(Types<Ts...>, DType dtype) {
  return ((dtype == kDTypeOf<Ts>) || ...);
}

// Calls body(Type<T>{}) for the T in the list that `dtype` names; the last, if it names none.
FCOS_ANY_BODY
template <class T, class... Others, class Body>
FCOS_HD auto dispatch(Types<T, Others...>, DType dtype, const Body& body) {
  if constexpr (sizeof...(Others) == 0) {
    return body(Type<T>{});
  } else {
    if (dtype == kDTypeOf<T>) return body(Type<T>{});
    return dispatch(Types<Others...>{}, dtype, body);
  }
}

// True if a gradient by values of type `dtype` may be stored as `gradient_dtype`: in their own
// type, or in the type of the maths.
inline bool is_gradient_dtype(DType gradient_dtype, DType dtype) {
  return gradient_dtype == dtype || gradient_dtype == maths_of(dtype);
}

FCOS_HD double read_number(const void* data, DType dtype) {
  return dispatch(Numbers{}, dtype, [&](auto type) {
    const auto number = *type.array(data);
    if constexpr (std::is_arithmetic_v<typename decltype(type)::type>) {
      return static_cast<double>(number);
    } else {
      return static_cast<double>(to_real(number));
    }
  });
}

// Element `index` of an array of any floating type that Real can hold.
template <class Real>
FCOS_HD Real read_real(const void* data, DType dtype, std::int64_t index) {
  return dispatch(HeldBy<Real>{}, dtype,
                  [&](auto type) -> Real { return to_real(type.array(data)[index]); });
}

template <class Real>
FCOS_HD void write_real(Real value, void* data, DType dtype, std::int64_t index) {
  dispatch(HeldBy<Real>{}, dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    from_real(static_cast<math::Real<T>>(value), type.array(data)[index]);
  });
}

// Element `index` of an array of kInt32 or kInt64.
FCOS_HD std::int64_t read_integer(const void* data, DType dtype, std::int64_t index) {
  return dispatch(Integers{}, dtype,
                  [&](auto type) -> std::int64_t { return type.array(data)[index]; });
}

// As clamped_offset() below, of an offset that was read already, and only once.
FCOS_HD std::int64_t clamp_offset(std::int64_t offset, std::int64_t low, std::int64_t high) {
  if (offset < low) return low;
  return offset < high ? offset : high;
}

// Element `index` of the offsets at which the items of a list begin in a ragged array, clamped to
// [low, high]: others may write them at any time, and nothing says that they were right before, so
// a bound is only one where it is read.
FCOS_HD std::int64_t clamped_offset(const void* offsets, DType dtype, std::int64_t index,
                                    std::int64_t low, std::int64_t high) {
  return clamp_offset(read_integer(offsets, dtype, index), low, high);
}

// The least number that maths in Real divides by: the inverse of anything smaller would be
// infinite.
template <class Real>
FCOS_HD double normalizer_floor(const Normalizer& normalizer) {
  constexpr double kSmallest = kSmallestNormal<Real>;
  return normalizer.floor < kSmallest ? kSmallest : normalizer.floor;
}

// scale / max(normalizer, floor); a NaN normalizer gives NaN.
template <class Real>
FCOS_HD double normalized_scale(double scale, const Normalizer& normalizer) {
  if (normalizer.data == nullptr) return scale;
  const double value = read_number(normalizer.data, normalizer.dtype);
  const double floor = normalizer_floor<Real>(normalizer);
  return scale / (value < floor ? floor : value);
}

}  // namespace fcos_ops::math
