// A level as an assignment rule sees it, made from the arguments of the op.
#pragma once

#include "fcos_ops/assign_targets.h"
#include "math/match.h"

namespace fcos_ops::math {

template <class Real>
MatchLevel<Real> match_level(const AssignTargetsArgs& args, const AssignmentLevel& level) {
  MatchLevel<Real> result = {};
  result.offset = static_cast<Real>(args.location_offset);
  result.stride_x = static_cast<Real>(level.stride_x);
  result.stride_y = static_cast<Real>(level.stride_y);
  result.radius = args.center_radius > 0
                      ? static_cast<Real>(args.center_radius) * static_cast<Real>(level.scale)
                      : kInfinity<Real>;
  result.lower = static_cast<Real>(level.lower);
  result.upper = static_cast<Real>(level.upper);
  result.max_area = static_cast<Real>(args.max_area);
  result.chebyshev = args.center_region == CenterRegion::kChebyshev;
  result.inclusive = args.range_inclusive;
  result.complement = args.area_rule == AreaRule::kFloat32Complement;
  return result;
}

}  // namespace fcos_ops::math
