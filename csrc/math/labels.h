// Labels other than a class.
#pragma once

#include <cstdint>

#include "math/qualifiers.h"

namespace fcos_ops::math {

// The first two are what callers write; the third stands for whatever else is not a class, and
// makes its row NaN.
inline constexpr std::int32_t kBackground = -1, kIgnored = -2, kInvalidLabel = -3;

// A caller's label as a class in [0, num_classes) or one of those.
FCOS_HD std::int32_t checked_label(std::int64_t label, std::int64_t num_classes) {
  return static_cast<std::int32_t>(label < kIgnored || label >= num_classes ? kInvalidLabel
                                                                            : label);
}

}  // namespace fcos_ops::math
