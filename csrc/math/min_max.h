// The smaller and the larger of two numbers. What NaN gives is part of the name.
#pragma once

#include "math/qualifiers.h"

namespace fcos_ops::math {

// The second, where one of the two is NaN, as one instruction of a CPU does it.
template <class T>
FCOS_HD T min_or_second(T a, T b) {
  return a < b ? a : b;
}
template <class T>
FCOS_HD T max_or_second(T a, T b) {
  return a > b ? a : b;
}

// Neither of the two may be NaN. (On a GPU min and max are instructions, which a comparison and a
// choice do not become, as they differ for NaN.)
template <class Real>
FCOS_HD Real min_of_numbers(Real a, Real b) {
#if defined(__CUDA_ARCH__)
  return ::min(a, b);
#else
  return min_or_second(a, b);
#endif
}
template <class Real>
FCOS_HD Real max_of_numbers(Real a, Real b) {
#if defined(__CUDA_ARCH__)
  return ::max(a, b);
#else
  return max_or_second(a, b);
#endif
}

}  // namespace fcos_ops::math
