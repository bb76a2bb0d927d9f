// From run-time dtypes to types, and from a Normalizer to a number.
#pragma once

#include <type_traits>

#include "fcos_ops/types.h"
#include "math/half.h"

namespace fcos_ops::math {

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
      return body(Type<Half>{});
    case DType::kBFloat16:
      return body(Type<BFloat16>{});
    default:
      return {kInvalidArgument, message};
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
FCOS_HD void dispatch_stored_as(DType dtype, const Body& body) {
  if constexpr (std::is_same_v<Real, double>) {
    body(Type<double>{});
  } else if (dtype == DType::kFloat16) {
    body(Type<Half>{});
  } else if (dtype == DType::kBFloat16) {
    body(Type<BFloat16>{});
  } else {
    body(Type<float>{});
  }
}

FCOS_HD double read_number(const void* data, DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return *static_cast<const float*>(data);
    case DType::kFloat64:
      return *static_cast<const double*>(data);
    case DType::kFloat16:
      return to_real(*static_cast<const Half*>(data));
    case DType::kBFloat16:
      return to_real(*static_cast<const BFloat16*>(data));
    case DType::kInt32:
      return *static_cast<const std::int32_t*>(data);
    case DType::kInt64:
      return static_cast<double>(*static_cast<const std::int64_t*>(data));
    case DType::kUInt8:
      return *static_cast<const std::uint8_t*>(data);
  }
  return 0.0;
}

// Element `index` of an array of any floating type that Real computes.
template <class Real>
FCOS_HD Real read_real(const void* data, DType dtype, std::int64_t index) {
  if constexpr (std::is_same_v<Real, double>) {
    if (dtype == DType::kFloat64) return static_cast<const double*>(data)[index];
  }
  if (dtype == DType::kFloat16) return to_real(static_cast<const Half*>(data)[index]);
  if (dtype == DType::kBFloat16) return to_real(static_cast<const BFloat16*>(data)[index]);
  return static_cast<const float*>(data)[index];
}

template <class Real>
FCOS_HD void write_real(Real value, void* data, DType dtype, std::int64_t index) {
  if constexpr (std::is_same_v<Real, double>) {
    if (dtype == DType::kFloat64) {
      static_cast<double*>(data)[index] = value;
      return;
    }
  }
  const auto rounded = static_cast<float>(value);
  if (dtype == DType::kFloat16) {
    from_real(rounded, static_cast<Half*>(data)[index]);
  } else if (dtype == DType::kBFloat16) {
    from_real(rounded, static_cast<BFloat16*>(data)[index]);
  } else {
    static_cast<float*>(data)[index] = rounded;
  }
}

// Element `index` of an array of kInt32 or kInt64.
FCOS_HD std::int64_t read_integer(const void* data, DType dtype, std::int64_t index) {
  return dtype == DType::kInt64 ? static_cast<const std::int64_t*>(data)[index]
                                : static_cast<const std::int32_t*>(data)[index];
}

// scale / max(normalizer, floor); a NaN normalizer gives NaN.
FCOS_HD double normalized_scale(double scale, const Normalizer& normalizer) {
  if (normalizer.data == nullptr) return scale;
  const double value = read_number(normalizer.data, normalizer.dtype);
  return scale / (value < normalizer.floor ? normalizer.floor : value);
}

}  // namespace fcos_ops::math
