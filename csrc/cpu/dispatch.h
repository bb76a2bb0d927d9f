// From run-time dtypes to types, and from a Normalizer to a number.
#pragma once

#include <algorithm>
#include <type_traits>

#include "fcos_ops/types.h"
#include "math/half.h"

namespace fcos_ops::cpu {

inline constexpr Status invalid(const char* message) { return {kInvalidArgument, message}; }

template <class T>
struct Type {
  using type = T;
};

// Calls body(Type<T>{}) for the floating type that `dtype` names.
template <class Body>
Status dispatch_floating(DType dtype, const char* message, const Body& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Type<float>{});
    case DType::kFloat64:
      return body(Type<double>{});
    case DType::kFloat16:
      return body(Type<math::Half>{});
    case DType::kBFloat16:
      return body(Type<math::BFloat16>{});
    default:
      return invalid(message);
  }
}

// Whether a gradient by values of type `dtype` may be stored as `gradient_dtype`: in their own
// type, or in the type of the maths.
inline bool is_gradient_dtype(DType gradient_dtype, DType dtype) {
  const DType maths = dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  return gradient_dtype == dtype || gradient_dtype == maths;
}

// Calls body(Type<T>{}) for the floating type that `dtype` names, out of those that Real computes.
template <class Real, class Body>
void dispatch_stored_as(DType dtype, const Body& body) {
  if constexpr (std::is_same_v<Real, double>) {
    body(Type<double>{});
  } else if (dtype == DType::kFloat16) {
    body(Type<math::Half>{});
  } else if (dtype == DType::kBFloat16) {
    body(Type<math::BFloat16>{});
  } else {
    body(Type<float>{});
  }
}

template <class Body>
Status dispatch_integer(DType dtype, const char* message, const Body& body) {
  switch (dtype) {
    case DType::kInt32:
      return body(Type<std::int32_t>{});
    case DType::kInt64:
      return body(Type<std::int64_t>{});
    default:
      return invalid(message);
  }
}

inline double read_number(const void* data, DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return *static_cast<const float*>(data);
    case DType::kFloat64:
      return *static_cast<const double*>(data);
    case DType::kFloat16:
      return math::to_real(*static_cast<const math::Half*>(data));
    case DType::kBFloat16:
      return math::to_real(*static_cast<const math::BFloat16*>(data));
    case DType::kInt32:
      return *static_cast<const std::int32_t*>(data);
    case DType::kInt64:
      return static_cast<double>(*static_cast<const std::int64_t*>(data));
    case DType::kUInt8:
      return *static_cast<const std::uint8_t*>(data);
  }
  return 0.0;
}

// scale / max(normalizer, floor); a NaN normalizer gives NaN.
inline double normalized_scale(double scale, const Normalizer& normalizer) {
  if (normalizer.data == nullptr) return scale;
  const double value = read_number(normalizer.data, normalizer.dtype);
  return scale / (value < normalizer.floor ? normalizer.floor : value);
}

}  // namespace fcos_ops::cpu
